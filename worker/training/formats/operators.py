"""Which operator of a network an exporter stumbled over: its errors are long, and name it somewhere inside."""

import re
from collections.abc import Iterator

_NAMED = (
    re.compile(r"<OpOverload\(op='([\w.:]+)'"),
    re.compile(r"No ONNX function found for ([\w.:]+)"),
    re.compile(r"\b((?:torch\.ops\.)?(?:aten|prims|torchvision|timm)[.:]{1,2}\w+(?:\.\w+)?)"),
)


def culprit(error: BaseException) -> str:
    """The operator that an error, or one that it came from, names; empty when none does."""
    for each in _chain(error):
        for pattern in _NAMED:
            if found := pattern.search(str(each)):
                return found[1].removeprefix("torch.ops.")
    return ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The innermost first: it is nearest to the cause."""
    if error is not None:
        yield from _chain(error.__cause__ or error.__context__)
        yield error
