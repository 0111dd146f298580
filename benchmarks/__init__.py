"""One script per question. Results lie in `results/`, each with its date, machine and commit."""
