"""What the end of a run means for its job: from its last event, its exit code, and whether it was asked to stop."""

import signal
from pathlib import Path

from app.contract.events import Event, Failed, Stopped, Succeeded
from app.contract.failures import FailureCode, failure
from app.contract.work import Finish, JobWork
from worker import log_merge

DISK_FULL_EXIT_CODE = 74
STOPPED_EXIT_CODE = 75


def of_run(work: JobWork, last: Event | None, exit_code: int, *, stopped: bool) -> Finish:
    """`exit_code` is negative for a signal; `stopped` says whether we sent one."""
    if isinstance(last, Succeeded) and exit_code == 0:
        return Finish(token=work.token, outcome="succeeded", report=last.report, artifacts=last.artifacts)
    if isinstance(last, Failed):
        return _failed(work, last)
    if exit_code == DISK_FULL_EXIT_CODE:
        message = "The disk under the run's folder is full, so that the run could not even say so."
        return failed(work, FailureCode.DISK_FULL, message)
    if stopped or isinstance(last, Stopped) or exit_code == STOPPED_EXIT_CODE:
        return Finish(token=work.token, outcome="released")
    return _crashed(work, exit_code)


def of_abandoned(work: JobWork, last: Event | None) -> Finish:
    """When its supervisor was killed, so that nobody saw an exit code. The last event tells, if it is a last one."""
    if isinstance(last, Succeeded):
        return Finish(token=work.token, outcome="succeeded", report=last.report, artifacts=last.artifacts)
    if isinstance(last, Failed):
        return _failed(work, last)
    if isinstance(last, Stopped):
        return Finish(token=work.token, outcome="released")
    return failed(work, FailureCode.LOST_WORKER, "The attempt's supervisor died.")


def failed(work: JobWork, code: FailureCode, message: str) -> Finish:
    """The attempt failed for a reason that the run itself did not report."""
    return Finish(token=work.token, outcome="failed", failure=failure(code, message, attempt=work.attempt))


def _failed(work: JobWork, last: Failed) -> Finish:
    reason = last.failure.model_copy(update={"attempt": work.attempt})
    return Finish(token=work.token, outcome="failed", failure=reason, report=last.report, artifacts=last.artifacts)


def _crashed(work: JobWork, exit_code: int) -> Finish:
    how = describe(exit_code)
    lines = log_merge.last_lines(Path(work.order.paths.run_dir))
    message = f"The training program {how}." + (f" The end of its log:\n{lines}" if lines else "")
    if len(message) > 4000:
        message = f"The training program {how}. The end of its log:\n{lines[-3800:]}"
    return failed(work, FailureCode.CRASHED, message)


def describe(exit_code: int) -> str:
    """How a program ended, for people."""
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    name = signal.Signals(-exit_code).name if -exit_code in set(signal.Signals) else str(-exit_code)
    hint = ", as the kernel does when memory runs out" if exit_code == -signal.SIGKILL else ""
    return f"was killed by {name}{hint}"
