"""How a process of a run writes its log: one line a message, with the time in UTC and the level."""

import logging
import sys
import time


def to_stderr() -> None:
    """`2026-11-21T10:00:00.123Z INFO message`; stderr is the process's log file."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
