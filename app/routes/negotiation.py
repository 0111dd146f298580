"""Which of the representations that there are a client wants (RFC 9110, section 12.5.1)."""

from collections.abc import Sequence

from app.problems import NotAcceptable


def preferred(accept: str | None, offered: Sequence[str]) -> str:
    """The offered media type that an `Accept` header weighs most; of equal ones, and without a header, the first.

    The most specific range counts: `image/png;q=0, */*` is anything but PNG. Raises `NotAcceptable` when all weigh 0.
    """
    ranges = [_range(part) for part in (accept or "*/*").lower().split(",") if part.strip()] or [("*/*", 1.0)]
    weights = [_weight(media_type, ranges) for media_type in offered]
    if not any(weights):
        raise NotAcceptable(f"This is answered as {' or '.join(offered)}: name one of them in `Accept`.")
    return offered[weights.index(max(weights))]


def _weight(media_type: str, ranges: Sequence[tuple[str, float]]) -> float:
    for name in (media_type, media_type.partition("/")[0] + "/*", "*/*"):
        weights = [weight for found, weight in ranges if found == name]
        if weights:
            return max(weights)
    return 0.0


def _range(part: str) -> tuple[str, float]:
    """Media type and weight. Parameters but `q` are left out of account: none of ours has any."""
    name, *parameters = (each.strip() for each in part.split(";"))
    given = [each.partition("=")[2].strip() for each in parameters if each.partition("=")[0].strip() == "q"]
    return name, _number(given[0]) if given else 1.0


def _number(text: str) -> float:
    """A weight; what cannot be read as one is none."""
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 0.0
