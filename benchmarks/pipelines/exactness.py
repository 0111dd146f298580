"""How near to the exact image is one resample of the whole list, and how near the article's step by step?

The scene is a formula: waves in all directions, down to three pixels long, long ones stronger, as in photographs. A
photograph of it, or of any part of it, is the mean over each pixel of 8 x 8 points in float64. So the image that a
crop, flips and a turn should give is known, and PSNR says how far the pixels are from it.
"""

import statistics
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.pipelines import DEGREES, SCALE, SIZE
from benchmarks.pipelines.photographs import HEIGHT, WIDTH
from benchmarks.pipelines.rounds import rounded
from benchmarks.pipelines.step_by_step import rotated
from worker.training import geometry, resample

# H W = height and width, W2 = waves x (x, y)

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]

_POINTS = 8
"""A side of a pixel, supersampled."""
_WAVES = 24
_MARGIN = 4
"""Pixels at the edges that are left out: what lies beyond them is the border's affair."""


class Scene:
    """Grey waves, between 0 and 255."""

    def __init__(self) -> None:
        generator = np.random.default_rng(3)
        lengths = np.exp(generator.uniform(np.log(3), np.log(60), _WAVES))
        angles, self._phases = generator.uniform(0, 2 * np.pi, (2, _WAVES))
        self._frequencies_W2 = (2 * np.pi / lengths * [np.cos(angles), np.sin(angles)]).T
        self._strengths = lengths**0.25
        self._strengths *= 127.5 / self._strengths.sum()

    def seen(self, matrix_33: Array, height: int, width: int) -> Array:
        """What each output pixel sees through the matrix: the mean of 8 x 8 points in it."""
        total_HW = np.zeros((height, width))
        inside = (np.arange(_POINTS) + 0.5) / _POINTS - 0.5
        turns_W2 = self._frequencies_W2 @ matrix_33[:2, :2]
        phases = self._phases + self._frequencies_W2 @ matrix_33[:2, 2]
        across = np.add.outer(np.arange(width), inside).ravel()
        down = np.add.outer(np.arange(height), inside).ravel()
        for (u, v), phase, strength in zip(turns_W2, phases, self._strengths, strict=True):
            # sin(a + b) of the sum of a row's and a column's part: each is supersampled along its own axis
            points_HW = np.exp(1j * (v * down + phase))[:, None] * np.exp(1j * u * across)
            total_HW += strength * points_HW.imag.reshape(height, _POINTS, width, _POINTS).mean(axis=(1, 3))
        return total_HW + 127.5

    def photograph(self, height: int, width: int) -> Image:
        """In three equal channels."""
        gray_HW = np.rint(self.seen(np.eye(3), height, width)).astype(np.uint8)
        return np.repeat(gray_HW[..., None], 3, axis=2)


@dataclass(frozen=True)
class Drawn:
    """What the steps have to do: a window of whole pixels, flips, a turn in degrees counter-clockwise."""

    left: int
    top: int
    side: int
    across: bool
    down: bool
    degrees: float


def measure(draws: int) -> dict[str, Any]:
    """Both ways, for the same drawn windows, flips and turns."""
    scene = Scene()
    source = scene.photograph(HEIGHT, WIDTH)
    generator = np.random.default_rng(1)
    pairs = [_compared(scene, source, _draw(generator)) for _ in range(draws)]
    once, steps = (statistics.mean(each) for each in zip(*pairs, strict=True))
    return {
        "draws": draws,
        "one_resample_db": rounded(once),
        "step_by_step_db": rounded(steps),
        "gain_db": rounded(statistics.mean(one - other for one, other in pairs)),
        "least_gain_db": rounded(min(one - other for one, other in pairs)),
    }


def _compared(scene: Scene, source: Image, drawn: Drawn) -> tuple[float, float]:
    """PSNR of one resample, and of the steps, over the pixels that both can know."""
    matrix_33 = _matrix(drawn)
    out_HWC = np.empty((SIZE, SIZE, 3), np.uint8)
    resample.warp(source, matrix_33, "reflect", out_HWC)
    exact_HW = scene.seen(matrix_33, SIZE, SIZE)
    known_HW = _inside_the_window(drawn)
    return _psnr(out_HWC, exact_HW, known_HW), _psnr(_steps(source, drawn), exact_HW, known_HW)


def _draw(generator: np.random.Generator) -> Drawn:
    """Square windows: with others the turned window is not the window turned, and there is no one right image."""
    side = int(min(np.sqrt(HEIGHT * WIDTH * generator.uniform(*SCALE)), HEIGHT))
    left, top = generator.integers(WIDTH - side + 1), generator.integers(HEIGHT - side + 1)
    across, down = generator.random(2) < 0.5
    return Drawn(int(left), int(top), side, bool(across), bool(down), float(generator.uniform(-DEGREES, DEGREES)))


def _matrix(drawn: Drawn) -> Array:
    """From the output to the source, by the geometry of the service."""
    size_N2 = geometry.repeat((SIZE, SIZE), 1)
    corner_N2 = np.array([[drawn.left, drawn.top]], np.float64)
    crop_N33 = geometry.window(corner_N2, geometry.repeat((drawn.side, drawn.side), 1), (SIZE, SIZE))
    flips_N33 = geometry.mirror(size_N2, np.array([drawn.across]), 0) @ geometry.mirror(
        size_N2, np.array([drawn.down]), 1
    )
    turn_N22 = geometry.rotation(np.deg2rad([drawn.degrees]))
    whole_N33 = crop_N33 @ flips_N33 @ geometry.about(geometry.centres(size_N2), turn_N22)
    return np.asarray(whole_N33[0])


def _steps(source: Image, drawn: Drawn) -> Image:
    """Crop, flip, rotate, resize: the article's order."""
    image = source[drawn.top : drawn.top + drawn.side, drawn.left : drawn.left + drawn.side]
    image = np.asarray(cv2.flip(image, 1) if drawn.across else image)
    image = np.asarray(cv2.flip(image, 0) if drawn.down else image)
    image = rotated(image, drawn.degrees)
    return np.asarray(cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR))


def _inside_the_window(drawn: Drawn) -> npt.NDArray[np.bool_]:
    """Output pixels that show the window and not what lies beyond it, which the steps have cut off."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(float) - (SIZE - 1) / 2
    angle = np.deg2rad(drawn.degrees)
    at_x, at_y = np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y
    return np.maximum(abs(at_x), abs(at_y)) < SIZE / 2 - _MARGIN


def _psnr(made_HWC: Image, exact_HW: Array, known_HW: npt.NDArray[np.bool_]) -> float:
    error = made_HWC[..., 0].astype(float)[known_HW] - exact_HW[known_HW]
    return float(10 * np.log10(255**2 / np.mean(error**2)))
