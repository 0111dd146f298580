"""Logs as structured lines on stderr: one JSON object a line, or text for a person. Set up once, by `create_app`."""

import logging
import sys
from typing import Literal

import structlog
from structlog.typing import Processor

SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]


class _Stderr(logging.Handler):
    """Writes to whatever `sys.stderr` is now, so that a test's capture and a re-opened stream are honoured."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line; a record that cannot be written must not break what it tells of."""
        try:
            sys.stderr.write(self.format(record) + "\n")
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
    handler = _Stderr()
    handler.setFormatter(_formatter(log_format))
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, _Stderr)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    for chatty in ("httpx", "httpx2", "httpcore", "alembic.runtime.migration"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


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
