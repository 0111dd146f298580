"""How the network is made smaller. The methods are applied in the order of the spec, each is reported."""

from typing import Annotated

from pydantic import Field

from app.contract.compression.distillation import Distillation
from app.contract.compression.memory import Checkpointing, SavedActivations
from app.contract.compression.narrower import ActivationCompression, DepthwiseSeparable, LowRank
from app.contract.compression.pruning import ChannelPruning
from app.contract.compression.quantization import Quantization

__all__ = [
    "IN_LOOP",
    "ActivationCompression",
    "ChannelPruning",
    "Checkpointing",
    "Compression",
    "DepthwiseSeparable",
    "Distillation",
    "LowRank",
    "Quantization",
    "SavedActivations",
]

IN_LOOP = (SavedActivations, Checkpointing, Distillation, Quantization)
"""Kinds that act while the network is trained, and leave the network itself alone."""

Compression = Annotated[
    DepthwiseSeparable
    | ActivationCompression
    | LowRank
    | ChannelPruning
    | SavedActivations
    | Checkpointing
    | Distillation
    | Quantization,
    Field(discriminator="kind"),
]
