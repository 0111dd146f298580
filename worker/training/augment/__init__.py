"""How training images are varied: planned as one matrix for each image, executed in one resample.

To add a kind: a class in app/contract/augment/, and a file here named after its `kind` with `build(spec)`, which gives
a `Geometric` (it moves pixels), a `Photometric` (it changes values), both of them, a `Mixing` (it mixes an image and
its label with another's, on the device), or a `Normalizing` (it acts on the device, after everything else).

- A geometric kind touches no pixel. It gives 3x3 matrices from its output pixels to its input pixels, one for each
  image (worker/training/geometry.py has the makings). `Pipeline` multiplies the list into one matrix from the final
  image to the source, so each image is resampled once, and a rotation shows the real surroundings of a crop, not black
  corners.
- A photometric kind gives steps (worker/training/pixels.py, colour.py) that are done to the final image. Colour maps
  that follow one another become one.
- A mixing kind gives a `Blend` (worker/training/blend.py), which worker/training/mixing.py does. Of several in a list
  each image is given to one, all equally likely.
- Numbers come from the `Draw` it is given and from nowhere else: a function of seed, epoch, sample index, place in the
  list and number of the draw. Every image draws at each call, also when it is not used.
- `border` is what shows where the source image ends. The source ends once, so one border holds for an image: that of
  the first kind whose own step, by itself, leaves what it was given. Behind it the image has no end any more.
- `draw.note(degrees=degrees_N)` tells what was drawn, in a user's words: previews show it.
- Evaluation is a list of its own in the resolved spec, of kinds that draw nothing.
- The kinds see sizes, never images: planning needs no data, and nothing here imports torch.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from app.contract.augment import Augment, Border
from app.contract.job import JobSpec
from worker.training import blend, geometry, resample
from worker.training.blend import Blend
from worker.training.colour import ColourMap
from worker.training.draws import Draw, Notes
from worker.training.geometry import Array, Size
from worker.training.pixels import PixelStep
from worker.training.plugins import build

# N = images in the batch, H W = height and width of what the network sees, C = channels: 1 or 3

Image = npt.NDArray[np.uint8]
"""Height x width x channels."""


@dataclass(frozen=True)
class Geometric:
    """A step that moves pixels. Sizes are N x (h, w) of the images it is given."""

    matrices: Callable[[Draw, Array], Array]
    size_out: Size | None = None  # null: each image keeps its size
    border: Border | None = None  # null: the step never leaves its image


@dataclass(frozen=True)
class Photometric:
    """A step that changes values of final images, which have the given size."""

    steps: Callable[[Draw, Size], list[PixelStep]]


@dataclass(frozen=True)
class Mixing:
    """A step that mixes final images, which have the given size, with their partners."""

    blends: Callable[[Draw, Size], Blend]


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
    pixels: list[PixelStep]
    """For the whole batch, one after another, behind the resample. Dataclasses, whose arrays have an entry an image."""

    def part(self, images: slice) -> "Plan":
        """The plan of some consecutive images: nothing that happens to one depends on the others."""
        pixels = [replace(step, **_part(step, images)) for step in self.pixels]  # type: ignore[type-var]
        return Plan(self.matrices_N33[images], self.borders[images], pixels)


@dataclass(frozen=True)
class Explained:
    """Images as the network sees them, the plan that was run for them, and what was drawn for it."""

    images_NHWC: Image
    plan: Plan
    notes: Notes


Step = Geometric | Photometric
Steps = Sequence[tuple[int, Step]]
"""Each with its position in the spec's list, from which it draws."""


class Pipeline:
    """The augmentations of one job, ready to plan, and to run on the CPU. Thread-safe: it keeps no state."""

    def __init__(
        self,
        seed: int,
        training: Steps,
        evaluation: Steps,
        size: Size,
        normalizing: Normalizing,
        mixing: Sequence[tuple[int, Mixing]] = (),
    ) -> None:
        self.size = size
        self.normalizing = normalizing
        self.mixing = mixing
        self._seed = seed
        self._training = training
        self._evaluation = evaluation

    def train_plan(self, sizes_N2: Array, indices_N: npt.NDArray[np.int64], epoch: int) -> Plan:
        """How the samples `indices` of the given source sizes look in `epoch`, counted from 0."""
        return self._plan(self._training, sizes_N2, indices_N, epoch)

    def evaluation_plan(self, sizes_N2: Array) -> Plan:
        """How images of the given source sizes look in evaluation."""
        return self._plan(self._evaluation, sizes_N2, np.zeros(len(sizes_N2), np.int64), 0)

    def blend(self, indices_N: npt.NDArray[np.int64], epoch: int) -> Blend:
        """How the images of the samples are mixed with their partners' in `epoch`. There must be a mixing step."""
        draws = [Draw(self._seed, epoch, position, indices_N) for position, _ in self.mixing]
        if len(draws) == 1:
            return self.mixing[0][1].blends(draws[0], self.size)
        turns_N = (draws[0].uniforms(1)[0] * len(draws)).astype(np.int64)
        drawn = zip(draws, self.mixing, strict=True)
        return blend.one_of([step.blends(draw, self.size) for draw, (_, step) in drawn], turns_N)

    def train_NHWC(self, images: Sequence[Image], indices_N: npt.NDArray[np.int64], epoch: int) -> Image:
        """The images as the network sees them in `epoch`. `indices`: their numbers in the training set."""
        return self.run(images, self.train_plan(_sizes(images), indices_N, epoch))

    def explain(self, images: Sequence[Image], indices_N: npt.NDArray[np.int64], epoch: int) -> Explained:
        """What `train_NHWC` gives, in the same way, and how it came about."""
        notes: Notes = {}
        plan = self._plan(self._training, _sizes(images), indices_N, epoch, notes)
        return Explained(self.run(images, plan), plan, notes)

    def evaluate_NHWC(self, images: Sequence[Image]) -> Image:
        """The images as the network sees them in evaluation."""
        return self.run(images, self.evaluation_plan(_sizes(images)))

    def _plan(
        self,
        steps: Steps,
        sizes_N2: Array,
        indices_N: npt.NDArray[np.int64],
        epoch: int,
        notes: Notes | None = None,
    ) -> Plan:
        def draw(position: int) -> Draw:
            return Draw(self._seed, epoch, position, indices_N, notes)

        geometric = [(draw(position), step) for position, step in steps if isinstance(step, Geometric)]
        photometric = [(draw(position), step) for position, step in steps if isinstance(step, Photometric)]
        matrices_N33, borders = _compose(geometric, sizes_N2)
        pixels = [made for drawn, step in photometric for made in step.steps(drawn, self.size)]
        return Plan(matrices_N33, borders, _joined(pixels))

    def run(self, images: Sequence[Image], plan: Plan) -> Image:
        """The images as `plan` says: N x H x W x C, one by one. worker.training.batched makes them all at once."""
        channels = images[0].shape[2] if images else 3
        out_NHWC = np.empty((len(images), *self.size, channels), np.uint8)
        fill(out_NHWC, images, plan)
        return out_NHWC


def fill(out_NHWC: Image, images: Iterable[Image], plan: Plan) -> None:
    """The images as `plan` says. Each is asked for when the one before is done and its memory can be used again: then
    it is still in the processor's cache."""
    number = 0
    for image in images:
        resample.warp(image, plan.matrices_N33[number], plan.borders[number], out_NHWC[number])
        for step in plan.pixels:
            step.run(number, out_NHWC[number])
        number += 1  # noqa: SIM113 (enumerate would hold the image while the next one is read)
        del image


def compile(spec: JobSpec) -> Pipeline:
    """The pipeline of a job. What the spec leaves open is made explicit first."""
    resolved = spec.resolved()
    training = _built(resolved.augment)
    normalizing = next(step for _, step in training if isinstance(step, Normalizing))
    on_device = Mixing | Normalizing
    return Pipeline(
        resolved.training.seed,
        [(position, step) for position, step in training if not isinstance(step, on_device)],
        _built(resolved.evaluation),
        resolved.image_size,
        normalizing,
        [(position, step) for position, step in training if isinstance(step, Mixing)],
    )


def _built(entries: Sequence[Augment]) -> list[tuple[int, Any]]:
    """The steps of each entry, which may be several, with the entry's position."""
    built = [(position, build("augment", each)) for position, each in enumerate(entries)]
    return [(position, step) for position, made in built for step in (made if isinstance(made, tuple) else (made,))]


def _compose(steps: Sequence[tuple[Draw, Geometric]], sizes_N2: Array) -> tuple[Array, list[Border | None]]:
    """One matrix and one border for each image."""
    count = len(sizes_N2)
    whole_N33 = geometry.identity(count)
    border_N = np.full(count, -1)
    for number, (draw, step) in enumerate(steps):
        step_N33 = step.matrices(draw, sizes_N2)
        sizes_out_N2 = geometry.repeat(step.size_out, count) if step.size_out else sizes_N2
        if step.border:
            border_N[(border_N < 0) & geometry.leaves(step_N33, sizes_out_N2, sizes_N2)] = number
        whole_N33, sizes_N2 = whole_N33 @ step_N33, sizes_out_N2
    return whole_N33, [steps[number][1].border if number >= 0 else None for number in border_N]


def _joined(steps: Sequence[PixelStep]) -> list[PixelStep]:
    """Colour maps that follow one another as one."""
    joined: list[PixelStep] = []
    for step in steps:
        if joined and isinstance(step, ColourMap) and isinstance(joined[-1], ColourMap):
            joined[-1] = step.after(joined[-1])
        else:
            joined.append(step)
    return joined


def _part(step: PixelStep, images: slice) -> dict[str, Any]:
    """The fields of a step that have an entry for each image, for some of them."""
    return {name: value[images] for name, value in vars(step).items() if isinstance(value, np.ndarray | list)}


def _sizes(images: Sequence[Image]) -> Array:
    return np.array([image.shape[:2] for image in images], np.float64).reshape(-1, 2)
