"""What a program inherits from the process that starts it, beside its environment and its files.

A run that is forked from the warm parent would inherit the parent's: so its supervisor says what its own are, and the
steward takes them over. What only the kernel or an administrator gives (cgroup, capabilities, namespaces) comes from
the worker, which started both.
"""

import os
import resource
import signal
from pathlib import Path

from pydantic import BaseModel

LIMITS = tuple(name for name in dir(resource) if name.startswith("RLIMIT_") and name != "RLIMIT_OFILE")  # an alias
PYTHON_IGNORES = {signal.SIGPIPE, signal.SIGXFSZ}
"""The interpreter ignores them as it starts; `subprocess` makes sure that a child's does so anew."""


class Surroundings(BaseModel):
    """Of one process."""

    folder: str
    umask: int
    limits: dict[str, tuple[int, int]]
    niceness: int
    oom_score_adj: int
    processors: set[int]
    ignored: set[int]
    blocked: set[int]

    @classmethod
    def of_this_process(cls) -> "Surroundings":
        """Call it in a process with a single thread: the mask for new files can only be read by changing it."""
        umask = os.umask(0o077)
        os.umask(umask)
        return cls(
            folder=str(Path.cwd()),
            umask=umask,
            limits={name: resource.getrlimit(getattr(resource, name)) for name in LIMITS},
            niceness=os.getpriority(os.PRIO_PROCESS, 0),
            oom_score_adj=int(Path("/proc/self/oom_score_adj").read_text()),
            processors=os.sched_getaffinity(0),
            ignored={int(each) for each in _all_signals() if signal.getsignal(each) is signal.SIG_IGN},
            blocked={int(each) for each in signal.pthread_sigmask(signal.SIG_BLOCK, [])},
        )

    def take_over(self) -> None:
        """Make them this process's own. Raises OSError or ValueError for what it may not."""
        os.chdir(self.folder)
        os.umask(self.umask)
        os.sched_setaffinity(0, self.processors)
        if os.getpriority(os.PRIO_PROCESS, 0) != self.niceness:
            os.setpriority(os.PRIO_PROCESS, 0, self.niceness)
        score = Path("/proc/self/oom_score_adj")
        if int(score.read_text()) != self.oom_score_adj:
            score.write_text(str(self.oom_score_adj))
        self._take_over_signals()
        for name, limits in self.limits.items():
            if resource.getrlimit(getattr(resource, name)) != limits:
                resource.setrlimit(getattr(resource, name), limits)

    def _take_over_signals(self) -> None:
        """As a fresh interpreter has them that inherits these."""
        for number in _all_signals():
            if number in PYTHON_IGNORES or int(number) in self.ignored:
                signal.signal(number, signal.SIG_IGN)
            elif number == signal.SIGINT:
                signal.signal(number, signal.default_int_handler)
            elif signal.getsignal(number) is not signal.SIG_DFL:
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.blocked)


def _all_signals() -> list[signal.Signals]:
    """Those that have a name and can be caught."""
    return [each for each in signal.Signals if each not in (signal.SIGKILL, signal.SIGSTOP)]
