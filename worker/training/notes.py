"""Ways to tell a person something while there is no training yet to report on."""

from typing import Any, Literal, Protocol

from app.contract.events import Noted
from worker.training.events import Reporter


class Tell(Protocol):
    """Called from any thread."""

    def __call__(self, level: Literal["info", "warning"], code: str, message: str, **data: Any) -> None:
        """Say it in a `note`."""


def silent(level: Literal["info", "warning"], code: str, message: str, **data: Any) -> None:
    """For those who are not the first to find it."""


def to(reporter: Reporter) -> Tell:
    """As events of the run, also from a process that is otherwise muted: what one rank finds, no other does."""

    def tell(level: Literal["info", "warning"], code: str, message: str, **data: Any) -> None:
        reporter.send_always(Noted, level=level, code=code, message=message[:4000], data=data)

    return tell
