"""What FastAPI costs by itself: the same document from a route that does nothing else. Listens on a descriptor."""

import json
import socket
import sys

import uvicorn
from fastapi import FastAPI
from starlette.responses import Response

from app.contract.views import Job
from app.routes.examples import RUNNING_JOB


def create_app() -> FastAPI:
    """`/bytes`: ready bytes, the least that a route can do. `/model`: a pydantic model, as most routes answer."""
    app = FastAPI(openapi_url=None)
    document = json.dumps(RUNNING_JOB).encode()
    model = Job.model_validate(RUNNING_JOB)

    @app.get("/bytes/{job}")
    async def ready_bytes(job: str) -> Response:
        return Response(document, media_type="application/json")

    @app.get("/model/{job}")
    async def as_model(job: str) -> Job:
        return model

    return app


def main() -> None:
    """Serve on the inherited socket, with uvicorn set as the service sets it."""
    config = uvicorn.Config(create_app(), log_config=None, access_log=False, server_header=False)
    with socket.socket(fileno=int(sys.argv[1])) as listener:
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
