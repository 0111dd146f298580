"""Kinds that put a smaller layer in the place of each layer that they fit."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from app.contract.compression.layers import Patterns
from app.contract.spec import Flag, Int, Spec


class DepthwiseSeparable(Spec):
    """Split each dense k x k convolution (k > 1) into a depthwise k x k and a pointwise 1x1 (arXiv 1704.04861).

    Multiplications fall to 1/C_out + 1/k^2 of the dense layer's. The depthwise part carries stride, padding and
    dilation and is followed by batch normalisation and `activation`; the original's normalisation stays after the 1x1.
    """

    kind: Literal["depthwise_separable"] = "depthwise_separable"
    activation: Literal["relu", "silu", "none"] = Field("relu", description="Between the two convolutions.")
    include_stem: Flag = Field(
        False,
        description="Also split the convolution that reads the image, which is small and carries much accuracy.",
    )
    exclude: Patterns = ()

    examples: ClassVar[list[dict[str, Any]]] = [{"kind": "depthwise_separable"}]


class ActivationCompression(Spec):
    """Lower the dimension of activations: groups of `ratio` channels are averaged and the next layer is built narrower.

    Averaging alone removes no parameters; the narrower convolution behind it has 1/ratio of them. The average is a 1x1
    convolution fixed at the group mean, or, with `learned`, one that starts there. Layers whose channels the ratio does
    not divide stay as they are and are named in the plan.
    """

    kind: Literal["activation_compression"] = "activation_compression"
    ratio: Int = Field(2, ge=2, le=64, description="Channels per group.")
    learned: Flag = Field(
        False, description="Train the averages too; costs input channels^2 / ratio parameters a layer."
    )
    where: Literal["all", "single_reader"] = Field(
        "all",
        description="`single_reader`: only where no other layer reads the same activation; needs a traceable network.",
    )
    layers: Patterns | None = Field(
        None,
        description="Only these convolutions; one whose channels do not divide is then refused. Null: all that fit.",
    )
    exclude: Patterns = ()

    examples: ClassVar[list[dict[str, Any]]] = [
        {"kind": "activation_compression", "ratio": 2},
        {"kind": "activation_compression", "ratio": 4, "learned": True},
    ]
