"""Kinds that choose for each image among the fourteen operations of worker/training/operations.py."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from app.contract.augment.geometric import BorderField
from app.contract.spec import Int, Spec


class TrivialAugment(Spec):
    """One operation for each image, all equally likely, at a strength drawn from 31 levels.

    The "wide" space of Mueller and Hutter, arXiv 2103.10158: shears to 0.99, shifts to 32 pixels, turns to 135
    degrees, colour factors to 1.99. Nothing to tune.
    """

    kind: Literal["trivial_augment"] = "trivial_augment"
    border: BorderField = "reflect"

    examples: ClassVar[list[dict[str, Any]]] = [{"kind": "trivial_augment"}]


class RandAugment(Spec):
    """`operations` of them for each image, all equally likely and perhaps the same twice, at one strength.

    The space of Cubuk et al., arXiv 1909.13719: at the full strength of 30 shears of 0.3, shifts of 0.45 of the side,
    turns of 30 degrees, colour factors of 0.1 or 1.9. Signs are drawn.
    """

    kind: Literal["rand_augment"] = "rand_augment"
    operations: Annotated[Int, Field(ge=1, le=8)] = Field(2, description="How many for each image, one after another.")
    magnitude: Annotated[Int, Field(ge=0, le=30)] = Field(9, description="Strength of each, of 30.")
    border: BorderField = "reflect"

    examples: ClassVar[list[dict[str, Any]]] = [{"kind": "rand_augment", "operations": 2, "magnitude": 9}]
