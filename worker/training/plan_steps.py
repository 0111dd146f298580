"""What a plan says of any job: how its images are divided into steps, and whether compression is of use."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.contract.compression import IN_LOOP, DepthwiseSeparable
from app.contract.job import JobSpec
from app.contract.plan import LayerChange, NetworkCost
from worker.training import sampling

MOST_LEFT_OF_THE_BEGINNING = 0.01
"""Share of the initial weights in a moving average from which on a plan warns."""


@dataclass(frozen=True)
class Steps:
    """How the training images are divided into steps and ranks."""

    images: int
    batch_size: int
    processes: int
    passes: int = 1

    @property
    def count(self) -> int:
        return sampling.steps_per_epoch(self.images, self.batch_size, self.processes)

    @property
    def largest_share(self) -> int:
        """Most images that one process has at once."""
        return sampling.largest_share(self.images, self.batch_size, self.processes, self.passes)

    @property
    def smallest_share(self) -> int:
        """Fewest images that one process has at once."""
        return sampling.smallest_share(self.images, self.batch_size, self.processes, self.passes)

    def warnings(self) -> Iterator[str]:
        if self.images < self.batch_size:
            yield (
                f"The batch of {self.batch_size} is larger than the data: "
                f"each epoch is one step of {self.images} images."
            )


def average_warnings(spec: JobSpec, steps_per_epoch: int) -> Iterator[str]:
    """About a moving average that has not forgotten the beginning."""
    ema = spec.training.ema
    left = ema.share_left(spec.training.epochs * steps_per_epoch) if ema else 0.0
    if left > MOST_LEFT_OF_THE_BEGINNING:
        yield f"The moving average will still hold {left:.0%} of the initial weights: lower decay, or set warmup."


def cost_warnings(before: NetworkCost, after: NetworkCost) -> Iterator[str]:
    """About a compression that makes nothing smaller."""
    if after.parameters > before.parameters:
        yield "The compression makes this network larger: its layers are too narrow for it."


def layer_warnings(spec: JobSpec, layers: Sequence[LayerChange], trained: bool) -> Iterator[str]:
    """About layers that no method fits, and about weights that one forgets. `trained`: they are no random ones."""
    for method in dict.fromkeys(each.kind for each in spec.compression if not isinstance(each, IN_LOOP)):
        statuses = [each.status for each in layers if each.method == method]
        kept = statuses.count("kept")
        if kept:
            yield f"{method} leaves {kept} of {len(statuses)} layers as they are; `layers` says why."
    drawn = {each.kind for each in spec.compression if isinstance(each, DepthwiseSeparable) and each.init == "random"}
    split = sum(each.status == "changed" and each.method in drawn for each in layers)
    if trained and split:
        yield f"depthwise_separable gives {split} layers with trained weights new, random ones; init svd keeps them."


def map_warnings(spec: JobSpec, sides: Sequence[int]) -> Iterator[str]:
    """Convolutions that see more padding than image. `sides`: the longer one of what each spatial convolution reads."""
    if tiny := sides.count(1):
        size = f"{spec.image_size[0]}x{spec.image_size[1]}"
        yield (
            f"Images of {size} have shrunk to 1x1 before {tiny} of {len(sides)} spatial convolutions: "
            "larger ones would use the network better."
        )
