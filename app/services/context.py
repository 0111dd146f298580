"""What a service knows of the request that it serves."""

from dataclasses import dataclass

from app.settings import Settings


@dataclass(frozen=True)
class Context:
    """Made by the edge, once a request. `traceparent` is W3C Trace Context; it travels with the job into the run."""

    settings: Settings
    traceparent: str | None = None
    request_id: str | None = None
