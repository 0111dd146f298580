"""What a plan says of any job: how its images are divided into steps, and whether compression is of use."""

from collections.abc import Iterator
from dataclasses import dataclass

from app.contract.plan import NetworkCost
from worker.training import sampling


@dataclass(frozen=True)
class Steps:
    """How the training images are divided into steps and ranks."""

    images: int
    batch_size: int
    processes: int

    @property
    def edges(self) -> list[int]:
        return sampling.batch_edges(self.images, self.batch_size, self.processes)

    @property
    def count(self) -> int:
        return len(self.edges) - 1

    @property
    def largest_share(self) -> int:
        """Most images that one process has in one step."""
        return sampling.largest_share(self.images, self.batch_size, self.processes)

    @property
    def smallest_share(self) -> int:
        return min(self._sizes()) // self.processes

    def _sizes(self) -> list[int]:
        return [after - before for before, after in zip(self.edges, self.edges[1:], strict=False)]

    def warnings(self) -> Iterator[str]:
        if self.images < self.batch_size:
            yield (
                f"The batch of {self.batch_size} is larger than the data: "
                f"each epoch is one step of {self.images} images."
            )
        elif max(self._sizes()) > self.batch_size:
            yield (
                f"The last {self.images % self.batch_size} images of an epoch are too few for a step of their own "
                "and join the batch before."
            )


def cost_warnings(before: NetworkCost, after: NetworkCost) -> Iterator[str]:
    """About a compression that makes nothing smaller."""
    if after.parameters > before.parameters:
        yield "The compression makes this network larger: its layers are too narrow for it."
