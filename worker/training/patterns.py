"""Which layers of a network a spec's patterns name."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from worker.training.errors import bad_spec


def selected(patterns: Iterable[str], layers: Iterable[str], pointer: str, what: str = "layer") -> set[str]:
    """The layers that any pattern matches. Raises `bad_spec` at `<pointer>/<i>` for a pattern that matches none."""
    names = list(layers)
    matched: set[str] = set()
    for index, pattern in enumerate(patterns):
        hits = [name for name in names if matches(name, pattern)]
        if not hits:
            some = ", ".join(names[:5])
            detail = f"No {what} of the network that it looks at is called '{pattern}'. Some are: {some}."
            raise bad_spec(f"{pointer}/{index}", detail, "matches_nothing")
        matched.update(hits)
    return matched


def matches(name: str, pattern: str) -> bool:
    """As in a shell, by the whole name. Square brackets mean themselves: module names have none to choose from."""
    return fnmatchcase(name, pattern.replace("[", "[[]"))
