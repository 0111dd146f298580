"""How the network is made smaller. The methods are applied in the order of the spec, each is reported."""

from typing import Annotated

from pydantic import Field

from app.contract.compression.narrower import ActivationCompression, DepthwiseSeparable
from app.contract.compression.pruning import ChannelPruning

__all__ = ["ActivationCompression", "ChannelPruning", "Compression", "DepthwiseSeparable"]

Compression = Annotated[DepthwiseSeparable | ActivationCompression | ChannelPruning, Field(discriminator="kind")]
