"""What a network expects of pixels, as its card says it, whichever library trained it."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat


class Scaling(BaseModel):
    """What the network expects of pixels: (value / 255 - mean) / std, per channel."""

    model_config = ConfigDict(frozen=True)

    mean: tuple[FiniteFloat, ...] = Field(min_length=1, max_length=3)
    std: tuple[Annotated[FiniteFloat, Field(gt=0)], ...] = Field(min_length=1, max_length=3)


def misfit(scaling: Scaling, channels: int, reads: int) -> str | None:
    """Why a card that speaks of `channels` is not of a network that reads `reads`; null: it may be.

    There must be a normalisation for each channel, or one for all.
    """
    if channels != reads:
        return f"speaks of {channels} channels for a network that reads {reads}"
    for name in ("mean", "std"):
        given = len(getattr(scaling, name))
        if given not in (1, reads):
            return f"has {given} values of normalization.{name} for {reads} channels"
    return None
