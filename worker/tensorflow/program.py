"""A program of a run that reports to its launcher over a pipe."""

import logging
from collections.abc import Callable
from pathlib import Path

from app.contract.work import RunOrder
from worker.tensorflow import library
from worker.training import causes, logs
from worker.training.events import Reporter

log = logging.getLogger(__name__)


def run(order_file: str, pipe: str, body: Callable[[RunOrder, Reporter], int | None]) -> int:
    """Load TensorFlow and do `body`, whose answer is the exit code, null for 0; or tell why not, and 1."""
    logs.to_stderr()
    reporter = Reporter(int(pipe))
    try:
        order = RunOrder.model_validate_json(Path(order_file).read_bytes())
        library.load()
        code = body(order, reporter)
    except BaseException as error:
        log.exception("This process cannot go on")
        reporter.fail(causes.explain(error))
        return 1
    reporter.close()
    return code or 0
