"""Methods that act while the network is trained, and the rules among them."""

from collections.abc import Iterator, Sequence

from app.contract.compression.distillation import Distillation
from app.contract.compression.memory import Checkpointing, SavedActivations
from app.contract.compression.quantization import Quantization
from app.contract.spec import Problem, Spec

IN_LOOP = (SavedActivations, Checkpointing, Distillation, Quantization)


def in_loop_problems(compression: Sequence[Spec]) -> Iterator[Problem]:
    """Each at most once, and one way alone to save memory."""
    first: dict[type[Spec], int] = {}
    for index, method in enumerate(compression):
        cls = type(method)
        if cls in IN_LOOP and cls in first:
            kind = cls.model_fields["kind"].default
            yield Problem(("compression", index), "twice", f"{kind} stands at /compression/{first[cls]} already.")
        first.setdefault(cls, index)
    if SavedActivations in first and Checkpointing in first:
        detail = (
            "checkpointing keeps nothing inside a block that saved_activations could keep in fewer bits: "
            "remove one of the two."
        )
        yield Problem(("compression", max(first[SavedActivations], first[Checkpointing])), "excludes", detail)
