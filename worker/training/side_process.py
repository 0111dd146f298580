"""What every process of a run does that is no rank: planner, preparer of the data, writer of formats, measurer."""

import logging
from collections.abc import Callable

from worker.training import causes, logs
from worker.training.events import Reporter

log = logging.getLogger(__name__)


def run(pipe: int, trouble: str, body: Callable[[Reporter], None]) -> int:
    """Do the work of such a process; its exit code: 0, or 1 when the launcher was told over `pipe` why not.

    `trouble` stands before the traceback in the process's log.
    """
    logs.to_stderr()
    reporter = Reporter(pipe)
    try:
        body(reporter)
    except Exception as error:
        log.exception(trouble)
        reporter.fail(causes.explain(error))
        return 1
    reporter.close()
    return 0
