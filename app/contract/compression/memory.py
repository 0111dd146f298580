"""Kinds that lower the memory that training takes. The network that is shipped is the same without them."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from app.contract.compression.layers import Patterns
from app.contract.spec import Spec


class SavedActivations(Spec):
    """Keep what the backward pass needs in fewer bits (ActNN, arXiv 2104.14129); the forward pass stays exact.

    Inputs of convolutions and batch normalisation are rounded to `bits` between the least and the largest value of each
    256 numbers; ReLU keeps an exact mask of 1 bit, pooling only where its values came from. Gradients of weights are
    then off by less than 1 % with 8 bits. A step takes a little longer.
    """

    kind: Literal["saved_activations"] = "saved_activations"
    bits: Literal[8, 4, 2] = Field(8, description="For each value of an activation.")
    exclude: Patterns = ()

    examples: ClassVar[list[dict[str, Any]]] = [{"kind": "saved_activations"}, {"kind": "saved_activations", "bits": 4}]


class Checkpointing(Spec):
    """Keep only the input of each of the network's blocks, and compute the block again in the backward pass.

    (arXiv 1604.06174.) Gradients are the very same; a step takes up to a third longer.
    """

    kind: Literal["checkpointing"] = "checkpointing"
    exclude: Patterns = ()

    examples: ClassVar[list[dict[str, Any]]] = [{"kind": "checkpointing"}]
