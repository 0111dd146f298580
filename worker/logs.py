"""Log lines of the worker's own processes: text in the format that `worker.log_merge` reads, or JSON."""

import json
import logging
import sys
import time
from typing import Literal


class TextFormatter(logging.Formatter):
    """`2026-11-21T10:00:00.123Z INFO message`, UTC."""

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")


class JsonFormatter(logging.Formatter):
    """One object a line, with what the process is working on."""

    converter = staticmethod(time.gmtime)

    def __init__(self, **about: object) -> None:
        super().__init__(datefmt="%Y-%m-%dT%H:%M:%S")
        self._about = about

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON; a traceback is one more field."""
        line: dict[str, object] = {
            "time": f"{self.formatTime(record, self.datefmt)}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._about,
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def set_up(log_format: Literal["text", "json"] = "text", **about: object) -> None:
    """Write to standard error from now on. `about` (job, attempt, worker) goes into every JSON line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(**about) if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line per request is noise
