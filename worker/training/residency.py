"""Whether the images of a run stay on its device: decided once, before the first step, and told.

A rank on a GPU may keep a quarter of the memory that is free when it begins; `TRAINYARD_DEVICE_CACHE_BYTES` says
otherwise, 0 for none. On a CPU nothing is kept unless that says so: there the kernel's page cache holds what fits, once
for all processes (docs/decisions/0021-the-cache-is-read-not-mapped.md). A set stays as a whole or not at all, the
training images first. Of the validation images a rank keeps those that it evaluates; of the training images it comes to
need all, since each epoch is shuffled anew.
"""

import logging
import os
from dataclasses import dataclass

import torch

from worker.training import executors, memory, sampling
from worker.training.batched.resident import Resident
from worker.training.data import LoadedData
from worker.training.distributed import Ranks
from worker.training.notes import Tell

VARIABLE = "TRAINYARD_DEVICE_CACHE_BYTES"
SHARE = 4
"""A quarter of what is free: networks, gradients, moments and activations need the rest, and come later."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Residency:
    """Of one rank. Nothing stays before `open`."""

    device: torch.device
    training: Resident
    validation: Resident

    def open(self, tell: Tell) -> None:
        """Take the memory for each set that fits, and tell about it. Raises ValueError."""
        if not executors.is_on(self.device):
            return
        allowed_bytes = left_bytes = budget_bytes(self.device)
        if not allowed_bytes:
            return
        kept: list[str] = []
        sent: list[str] = []
        for name, images in (("training", self.training), ("validation", self.validation)):
            fits = images.size_bytes <= left_bytes and self._has_opened(images)
            left_bytes -= images.size_bytes if fits else 0
            (kept if fits else sent).append(f"{images.images:,} {name} images ({images.size_bytes:,} bytes)")
        _tell(tell, kept, sent, allowed_bytes, allowed_bytes - left_bytes)

    def close(self) -> None:
        """Give the memory back."""
        self.training.close()
        self.validation.close()

    def _has_opened(self, images: Resident) -> bool:
        try:
            images.open(self.device)
        except Exception as error:
            if not memory.ran_out(error):
                raise
            log.warning("There is no room on the device for the images: %s", error)
            return False
        return True


def of(loaded: LoadedData, ranks: Ranks) -> Residency:
    """What a rank could keep of its data."""
    images = len(loaded.validation)
    shares = sampling.evaluation_shares(images, images, ranks.rank, ranks.world)  # all in one batch, or none
    mine = slice(int(shares[0][0]), int(shares[0][-1]) + 1) if shares else slice(0, 0)
    return Residency(
        ranks.device, Resident(loaded.train, slice(0, len(loaded.train))), Resident(loaded.validation, mine)
    )


def budget_bytes(device: torch.device) -> int:
    """How much a rank may keep on its device. Raises ValueError for a setting that is no number of bytes."""
    if given := os.environ.get(VARIABLE):
        if not given.isdecimal():
            raise ValueError(f"{VARIABLE} is {given!r}: it can be a number of bytes, 0 for none.")
        return int(given)
    return torch.cuda.mem_get_info(device)[0] // SHARE if device.type == "cuda" else 0


def _tell(tell: Tell, kept: list[str], sent: list[str], allowed_bytes: int, taken_bytes: int) -> None:
    parts = [f"{' and '.join(kept)} stay on the device once they were read"] if kept else []
    parts += [f"{' and '.join(sent)} do not fit there and are sent whenever they are read"] if sent else []
    message = f"{'; '.join(parts)}. A process may keep {allowed_bytes:,} bytes on its device."
    log.info(message)
    tell("info", "images_on_device", message, allowed_bytes=allowed_bytes, taken_bytes=taken_bytes)
