"""Kinds that put a smaller layer in the place of each layer that they fit."""

from collections.abc import Iterator
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from app.contract.compression.layers import Patterns
from app.contract.spec import Flag, Int, Number, Problem, Spec, refuse


class DepthwiseSeparable(Spec):
    """Split each dense k x k convolution (k > 1) into a depthwise k x k and a pointwise 1x1 (arXiv 1704.04861).

    Multiplications fall to 1/C_out + 1/k^2 of the dense layer's for each depthwise filter a channel. The depthwise part
    carries stride, padding and dilation. With `init: random` batch normalisation and `activation` follow it; with `svd`
    nothing does, so that the two are the best approximation of the trained layer (of its weights, channel by channel,
    in squared error), and equal it at full rank. The original's normalisation stays after the 1x1.
    """

    kind: Literal["depthwise_separable"] = "depthwise_separable"
    init: Literal["random", "svd"] = Field(
        "random", description="`svd` converts trained weights: it needs an earlier job's model, or a pretrained one."
    )
    rank: Int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Depthwise filters a channel. Null: 1 with `random`; with `svd` as many as make the two equal the "
        "dense layer, which is then larger than before. With `svd`, a layer takes no more than those, "
        "min(kernel height * kernel width, output channels).",
    )
    activation: Literal["relu", "silu", "none"] = Field(
        "relu", description="Between the two convolutions. With `svd` it is `none`, also when it is left out."
    )
    include_stem: Flag = Field(
        False,
        description="Also split the convolution that reads the image, which is small and carries much accuracy.",
    )
    exclude: Patterns = ()

    examples: ClassVar[list[dict[str, Any]]] = [
        {"kind": "depthwise_separable"},
        {"kind": "depthwise_separable", "init": "svd", "rank": 2},
    ]

    @model_validator(mode="before")
    @classmethod
    def _nothing_stands_between_by_default(cls, data: Any) -> Any:
        left_out = isinstance(data, dict) and data.get("init") == "svd" and "activation" not in data
        return {**data, "activation": "none"} if left_out else data

    @model_validator(mode="after")
    def _svd_is_linear(self) -> Self:
        refuse("DepthwiseSeparable", self._problems(), self)
        return self

    def _problems(self) -> Iterator[Problem]:
        if self.init == "svd" and self.activation != "none":
            detail = (
                "Between the two halves of a trained layer nothing may stand: leave activation out, or init random."
            )
            yield Problem(("activation",), "excludes_svd", detail)


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


class LowRank(Spec):
    """Split each linear layer and 1x1 convolution into two of fewer weights, by the SVD of its weights.

    A layer of m outputs and n inputs has m n weights, its two halves r (m + n). The rank r is given, or is the least
    whose squared singular values make up `energy` of their sum; the halves are then the closest of this rank to the
    layer, in squared error of its weights (Eckart and Young, 1936). Layers for which that does not pay stay as they
    are and are named in the plan. From random weights it is a start that trains well (arXiv 2105.01029).
    """

    kind: Literal["low_rank"] = "low_rank"
    energy: Number | None = Field(
        None,
        gt=0,
        le=1,
        description="Share of the squared singular values to keep, for each layer. Needs trained weights. "
        "Give this or `rank`.",
    )
    rank: Int | None = Field(None, ge=1, le=65_536, description="The same for each layer. Give this or `energy`.")
    include_classifier: Flag = Field(
        False,
        description="Also split the layer that gives the scores: below as many ranks as classes, some classes can no "
        "longer be told apart freely.",
    )
    exclude: Patterns = ()

    examples: ClassVar[list[dict[str, Any]]] = [{"kind": "low_rank", "energy": 0.8}, {"kind": "low_rank", "rank": 16}]

    @model_validator(mode="after")
    def _one_says_how_far(self) -> Self:
        refuse("LowRank", self._problems(), self)
        return self

    def _problems(self) -> Iterator[Problem]:
        if self.energy is None and self.rank is None:
            yield Problem(
                ("energy",), "needs_energy_or_rank", "Give energy, a share of (0, 1], or rank, a number of at least 1."
            )
        if self.energy is not None and self.rank is not None:
            yield Problem(("rank",), "excludes_energy", "energy and rank both say how far to go: remove one of them.")
