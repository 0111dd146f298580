"""Logs as structured lines on stderr: one JSON object a line, or text for a person. Set up once, by `create_app`."""

import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

import orjson
import structlog
from structlog.typing import Processor

from app.edge.requests import of_current_request

SHARED: list[Processor] = [
    of_current_request,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]


class _Stderr(logging.Handler):
    """Writes to whatever `sys.stderr` is now, so that a test's capture and a re-opened stream are honoured.

    A record with `fields` is written as they are: there is one for each request, and structlog's processors take 40 µs.
    """

    def __init__(self, log_format: Literal["json", "text"]) -> None:
        super().__init__()
        self._render = _as_json if log_format == "json" else _as_text
        self.setFormatter(_formatter(log_format))

    def emit(self, record: logging.LogRecord) -> None:
        """One line; a record that cannot be written must not break what it tells of."""
        try:
            fields = record.__dict__.get("fields")
            sys.stderr.write((self.format(record) if fields is None else self._render(record, fields)) + "\n")
        except Exception:  # noqa: BLE001  (what logging itself does)
            self.handleError(record)


def set_up(log_format: Literal["json", "text"]) -> None:
    """Route structlog and the standard library's loggers through one handler. Doing it again replaces it."""
    structlog.configure(
        processors=[*SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = _Stderr(log_format)
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, _Stderr)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    for chatty in ("httpx", "httpx2", "httpcore", "alembic.runtime.migration"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _as_json(record: logging.LogRecord, fields: dict[str, Any]) -> str:
    head = {"event": record.getMessage(), "level": record.levelname.lower(), "logger": record.name}
    return orjson.dumps({**head, "timestamp": _time(record), **fields}, default=str).decode()


def _as_text(record: logging.LogRecord, fields: dict[str, Any]) -> str:
    said = " ".join(f"{name}={value}" for name, value in fields.items())
    return f"{_time(record)} [{record.levelname.lower():<8}] {record.getMessage():<30} [{record.name}] {said}"


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _formatter(log_format: str) -> logging.Formatter:
    as_json: list[Processor] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    # not rich's traceback: it prints local variables, tokens among them, and takes seconds
    plain = structlog.dev.plain_traceback
    as_text: list[Processor] = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=SHARED,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *(as_json if log_format == "json" else as_text),
        ],
    )
