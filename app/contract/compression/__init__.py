"""How the network is made smaller. The methods are applied in the order of the spec, each is reported."""

from typing import Annotated

from pydantic import Field

from app.contract.compression.narrower import ActivationCompression, DepthwiseSeparable, LowRank

__all__ = ["ActivationCompression", "Compression", "DepthwiseSeparable", "LowRank"]

Compression = Annotated[DepthwiseSeparable | ActivationCompression | LowRank, Field(discriminator="kind")]
