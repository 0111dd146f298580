"""How the network is made smaller. The methods are applied in the order of the spec, each is reported."""

from typing import Annotated

from pydantic import Field

from app.contract.compression.distillation import Distillation
from app.contract.compression.memory import Checkpointing, SavedActivations
from app.contract.compression.narrower import ActivationCompression, DepthwiseSeparable
from app.contract.compression.quantization import Quantization

__all__ = [
    "ActivationCompression", "Checkpointing", "Compression", "DepthwiseSeparable", "Distillation", "Quantization",
    "SavedActivations",
]  # fmt: skip

Compression = Annotated[
    DepthwiseSeparable | ActivationCompression | SavedActivations | Checkpointing | Distillation | Quantization,
    Field(discriminator="kind"),
]
