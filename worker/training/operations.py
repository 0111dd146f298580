"""The fourteen operations that `trivial_augment` and `rand_augment` choose from, for a batch at once.

A choice is a number of an operation and a strength in [-1, 1] for each image. What moves pixels joins the one matrix of
the plan, what changes values is done to the final image.
"""

# N = images in the batch

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from worker.training import colour, geometry
from worker.training.draws import Draw
from worker.training.geometry import Array
from worker.training.pixels import Equalize, PixelStep, Sharpen, Stretch, Table

_VALUES = np.arange(256)


class Operation(IntEnum):
    """In the order in which both papers list them."""

    IDENTITY = 0
    SHEAR_X = 1
    SHEAR_Y = 2
    TRANSLATE_X = 3
    TRANSLATE_Y = 4
    ROTATE = 5
    BRIGHTNESS = 6
    COLOUR = 7
    CONTRAST = 8
    SHARPNESS = 9
    POSTERIZE = 10
    SOLARIZE = 11
    AUTO_CONTRAST = 12
    EQUALIZE = 13


_NAMES = np.array([operation.name.lower() for operation in Operation])


@dataclass(frozen=True)
class Space:
    """What each operation does at full strength."""

    shear: float
    shift_pixels: float
    shift_share: float  # of the side; added to the pixels
    degrees: float
    factor: float  # change of the factors of brightness, colour, contrast and sharpness
    bits: int  # that posterize takes away


@dataclass(frozen=True)
class Choice:
    """One operation and its strength for each image."""

    operations_N: npt.NDArray[np.int64]
    strengths_N: Array

    @property
    def names_N(self) -> npt.NDArray[np.str_]:
        """Of the operations, for people."""
        return _NAMES[self.operations_N]

    def of(self, operation: Operation) -> Array:
        """The strength where this is the operation, else 0."""
        return np.where(self.operations_N == operation, self.strengths_N, 0.0)

    def chosen(self, operation: Operation) -> npt.NDArray[np.bool_]:
        """Where this is the operation."""
        return self.operations_N == operation


def choose(draw: Draw, strengths_N: Array) -> Choice:
    """All operations equally likely, signs too."""
    drawn_2N = draw.uniforms(2)
    signs_N = np.where(drawn_2N[1] < 0.5, -1.0, 1.0)
    return Choice(np.floor(drawn_2N[0] * len(Operation)).astype(np.int64), signs_N * strengths_N)


def matrices(choice: Choice, space: Space, sizes_N2: Array) -> Array:
    """Shears, turns and shifts, about the centre; the identity for every other operation."""
    shears_N22 = geometry.shear(space.shear * choice.of(Operation.SHEAR_X), space.shear * choice.of(Operation.SHEAR_Y))
    turns_N22 = geometry.rotation(np.deg2rad(space.degrees) * choice.of(Operation.ROTATE))
    shifts_N2 = np.stack([choice.of(Operation.TRANSLATE_X), choice.of(Operation.TRANSLATE_Y)], -1)
    lengths_N2 = space.shift_pixels + space.shift_share * sizes_N2[:, ::-1]
    about_N33 = geometry.about(geometry.centres(sizes_N2), shears_N22 @ turns_N22)
    return about_N33 @ geometry.translation(-shifts_N2 * lengths_N2)


def pixel_steps(choice: Choice, space: Space) -> list[PixelStep]:
    """What changes values; each step leaves the images alone that chose something else."""
    tables_N256 = _posterized(choice, space)
    colours = colour.chain(
        colour.brightness(1 + space.factor * choice.of(Operation.BRIGHTNESS)),
        colour.saturation(1 + space.factor * choice.of(Operation.COLOUR)),
        colour.contrast(1 + space.factor * choice.of(Operation.CONTRAST)),
    )
    return [
        colours,
        Sharpen(1 + space.factor * choice.of(Operation.SHARPNESS)),
        Table(_solarized(choice, tables_N256)),
        Stretch(choice.chosen(Operation.AUTO_CONTRAST)),
        Equalize(choice.chosen(Operation.EQUALIZE)),
    ]


def _posterized(choice: Choice, space: Space) -> npt.NDArray[np.uint8]:
    """The lowest bits of each value cleared."""
    bits_N1 = np.rint(space.bits * np.abs(choice.of(Operation.POSTERIZE))).astype(np.int64)[:, None]
    return (_VALUES >> bits_N1 << bits_N1).astype(np.uint8)


def _solarized(choice: Choice, tables_N256: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Values from a threshold on inverted; the threshold falls from 256, none, to 0, all."""
    thresholds_N1 = 256 * (1 - np.abs(choice.of(Operation.SOLARIZE)))[:, None]
    return np.where(thresholds_N1 <= _VALUES, 255 - tables_N256, tables_N256).astype(np.uint8)
