"""How training images are varied: planned as one matrix for each image, executed in one resample.

To add a kind: a class in app/contract/augment.py, and a file here named after its `kind` with
`build(spec) -> Geometric` (it moves pixels) or `-> Normalizing` (it acts on the device, after everything else).

- A geometric kind touches no pixel. It gives 3x3 matrices from its output pixels to its input pixels, one for each
  image (worker/training/geometry.py has the makings), for training from drawn numbers and for evaluation without any.
  `Pipeline` multiplies the list into one matrix from the final image to the source, so each image is resampled once,
  and a rotation shows the real surroundings of a crop, not black corners.
- Numbers come from the `Draw` it is given and from nowhere else: a function of seed, epoch, sample index, place in the
  list and number of the draw. Every image draws at each call, also when it is not used.
- `border` is what shows where the source image ends. The source ends once, so one border holds for an image: that of
  the first kind whose own step, by itself, leaves what it was given. Behind it the image has no end any more.
- The kinds see sizes, never images: planning needs no data, and nothing here imports torch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.contract.augment import Border
from app.contract.job import JobSpec
from worker.training import geometry, resample
from worker.training.draws import Draw
from worker.training.geometry import Array, Size
from worker.training.plugins import build

# N = images in the batch, H W = height and width of what the network sees, C = channels: 1 or 3

Image = npt.NDArray[np.uint8]
"""Height x width x channels."""


@dataclass(frozen=True)
class Geometric:
    """A step that moves pixels. Sizes are N x (h, w) of the images it is given."""

    train: Callable[[Draw, Array], Array]
    evaluate: Callable[[Array], Array]
    size_out: Size | None = None  # null: each image keeps its size
    border: Border | None = None  # null: the step never leaves its image


@dataclass(frozen=True)
class Normalizing:
    """The values to normalise with, in units of [0, 1], one for all channels or one each; null: fit them."""

    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None


@dataclass(frozen=True)
class Plan:
    """What happens to each image of a batch: any executor makes the same pixels of it."""

    matrices_N33: Array
    borders: list[Border | None]
    """For each image; null where nothing beyond the source's edges is shown."""


class Pipeline:
    """The augmentations of one job, ready to plan and to run on the CPU. Thread-safe: it keeps no state."""

    def __init__(self, seed: int, steps: Sequence[tuple[int, Geometric]], size: Size, normalizing: Normalizing) -> None:
        """`steps`: each with its position in the spec's list."""
        self.size = size
        self.normalizing = normalizing
        self._seed = seed
        self._steps = steps

    def train_plan(self, sizes_N2: Array, indices_N: npt.NDArray[np.int64], epoch: int) -> Plan:
        """How the samples `indices` of the given source sizes look in `epoch`, counted from 0."""

        def matrices(position: int, step: Geometric, sizes_N2: Array) -> Array:
            return step.train(Draw(self._seed, epoch, position, indices_N), sizes_N2)

        return self._compose(sizes_N2, matrices)

    def evaluation_plan(self, sizes_N2: Array) -> Plan:
        """The deterministic counterpart: crops from the centre, resizing as in training, no flips, no rotations."""
        return self._compose(sizes_N2, lambda _position, step, sizes_N2: step.evaluate(sizes_N2))

    def train_NHWC(self, images: Sequence[Image], indices_N: npt.NDArray[np.int64], epoch: int) -> Image:
        """The images as the network sees them in `epoch`. `indices`: their numbers in the training set."""
        return self._run(images, self.train_plan(_sizes(images), indices_N, epoch))

    def evaluate_NHWC(self, images: Sequence[Image]) -> Image:
        """The images as the network sees them in evaluation."""
        return self._run(images, self.evaluation_plan(_sizes(images)))

    def _compose(self, sizes_N2: Array, matrices: Callable[[int, Geometric, Array], Array]) -> Plan:
        count = len(sizes_N2)
        whole_N33 = geometry.identity(count)
        border_N = np.full(count, -1)
        for number, (position, step) in enumerate(self._steps):
            step_N33 = matrices(position, step, sizes_N2)
            sizes_out_N2 = geometry.repeat(step.size_out, count) if step.size_out else sizes_N2
            if step.border:
                border_N[(border_N < 0) & geometry.leaves(step_N33, sizes_out_N2, sizes_N2)] = number
            whole_N33, sizes_N2 = whole_N33 @ step_N33, sizes_out_N2
        return Plan(whole_N33, [self._steps[number][1].border if number >= 0 else None for number in border_N])

    def _run(self, images: Sequence[Image], plan: Plan) -> Image:
        channels = images[0].shape[2] if images else 3
        out_NHWC = np.empty((len(images), *self.size, channels), np.uint8)
        for image, matrix_33, border, out_HWC in zip(images, plan.matrices_N33, plan.borders, out_NHWC, strict=True):
            resample.warp(image, matrix_33, border, out_HWC)
        return out_NHWC


def compile(spec: JobSpec) -> Pipeline:
    """The pipeline of a job. Image size and normalisation that the spec leaves open are made explicit first."""
    resolved = spec.resolved()
    steps = [(position, build("augment", each)) for position, each in enumerate(resolved.augment)]
    geometric = [(position, step) for position, step in steps if isinstance(step, Geometric)]
    normalizing = next(step for _, step in steps if isinstance(step, Normalizing))
    return Pipeline(resolved.training.seed, geometric, resolved.image_size, normalizing)


def _sizes(images: Sequence[Image]) -> Array:
    return np.array([image.shape[:2] for image in images], np.float64).reshape(-1, 2)
