"""What the stages of a report are called."""

from collections.abc import Sequence

from app.contract.compression import Compression


def stage_names(methods: Sequence[Compression]) -> list[str]:
    """The kinds; from the second time on with a number."""
    kinds = [each.kind for each in methods]
    times = [kinds[: index + 1].count(kind) for index, kind in enumerate(kinds)]
    return [f"{kind}#{time}" if time > 1 else kind for kind, time in zip(kinds, times, strict=True)]
