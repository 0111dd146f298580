"""A training program: no web, no queue, no database. `python -m worker.training SPEC.json RUN_DIR`."""
