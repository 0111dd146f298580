"""How fast is the API? Every kind of request, beside a bare FastAPI route and MLflow's tracking server."""
