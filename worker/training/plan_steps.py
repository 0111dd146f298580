"""What a plan says of any job: how its images are divided into steps, and whether compression is of use."""

from collections.abc import Iterator
from dataclasses import dataclass

from app.contract.job import JobSpec
from app.contract.plan import NetworkCost
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
