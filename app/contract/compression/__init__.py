"""How the network is made smaller. The methods are applied in the order of the spec, each is reported."""

from typing import Annotated

from pydantic import Field

from app.contract.compression.narrower import ActivationCompression, DepthwiseSeparable, LowRank
from app.contract.compression.quantization import Quantization

__all__ = ["ActivationCompression", "Compression", "DepthwiseSeparable", "LowRank", "Quantization"]

Compression = Annotated[
    DepthwiseSeparable | ActivationCompression | LowRank | Quantization, Field(discriminator="kind")
]
