"""What the service and its workers promise each other, and the service its users: pydantic models, nothing else."""
