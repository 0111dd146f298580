"""The muscle: runs jobs on the devices of its host. It knows the service only as an HTTP API and a Celery queue."""
