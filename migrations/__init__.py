"""The database's history, step by step (Alembic). Run by `trainyard db upgrade` and when the API starts."""
