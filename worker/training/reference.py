"""What the trained network itself answers to some validation images: every file of it is held against that."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from app.contract.failures import FailureCode
from worker.training.errors import RunFailure
from worker.training.fitting import Normalization

if TYPE_CHECKING:  # what is kept and compared is NumPy's: both libraries' networks are
    import torch
    from torch import nn

# N = images, H W = height and width, C = channels, K = classes

FOLDER = "reference"
IMAGES, LOGITS = "images.npy", "logits.npy"
MOST_IMAGES = 64
TOLERANCE = 1e-3
"""Of the logits, relative to the largest: another program, memory format or device adds up in another order."""
AGREEMENT = 0.95
"""Of the classes told. Only two classes that are equally likely may change places."""
_PIECE = 16  # images at once: rank 0 still holds what training needed

Logits = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Reference:
    """Images as evaluation shows them, and the trained network's logits."""

    images_NHWC: npt.NDArray[np.uint8]
    logits_NK: Logits


@dataclass(frozen=True)
class Distance:
    """How far another's logits are from the trained network's."""

    max_abs_difference: float
    top1_agreement: float
    images: int


def chosen(images: int) -> npt.NDArray[np.int64]:
    """Which of so many images: spread evenly, since sets are sorted by class."""
    return np.unique(np.linspace(0, images - 1, min(images, MOST_IMAGES)).astype(np.int64))


def keep(run_dir: Path, network: "nn.Module", scaling: Normalization, images_NHWC: "torch.Tensor") -> None:
    """Ask the trained network, on the CPU, and write its answers. Raises `diverged` when they are no numbers."""
    write(run_dir, images_NHWC.numpy(), answers(network, scaling, images_NHWC))


def write(run_dir: Path, images_NHWC: npt.NDArray[np.uint8], logits_NK: Logits) -> None:
    """Keep what the trained network answered. Raises `diverged` when it is no numbers."""
    if not np.isfinite(logits_NK).all():
        message = "The trained network answers validation images with values that are not finite."
        raise RunFailure(FailureCode.DIVERGED, message)
    (run_dir / FOLDER).mkdir(exist_ok=True)
    np.save(run_dir / FOLDER / IMAGES, images_NHWC)
    np.save(run_dir / FOLDER / LOGITS, logits_NK)


def read(run_dir: Path) -> Reference:
    """What `keep` wrote."""
    folder = run_dir / FOLDER
    return Reference(np.load(folder / IMAGES, allow_pickle=False), np.load(folder / LOGITS, allow_pickle=False))


def answers(network: "nn.Module", scaling: Normalization, images_NHWC: "torch.Tensor") -> Logits:
    """The logits of a network, in its own precision and on its own device. Its mode comes back unchanged."""
    import torch

    from worker.training import normalization

    was_training, weight = network.training, next(network.parameters())
    network.eval()
    parts: Sequence[torch.Tensor] = images_NHWC.split(_PIECE)
    with torch.no_grad():
        logits = [network(normalization.apply(part.to(weight.device), scaling, weight.dtype)).cpu() for part in parts]
    network.train(was_training)
    return torch.cat(logits).double().numpy()


def distance(reference: Reference, logits_NK: Logits, file: str) -> Distance:
    """Between a file's logits and the trained network's. Raises `export_failed` for those that are not comparable."""
    wanted_NK = reference.logits_NK
    if logits_NK.shape != wanted_NK.shape:
        message = f"{file} answers {logits_NK.shape} values instead of {wanted_NK.shape}."
        raise RunFailure(FailureCode.EXPORT_FAILED, message)
    if not np.isfinite(logits_NK).all():
        message = f"{file} answers validation images with values that are not finite."
        raise RunFailure(FailureCode.EXPORT_FAILED, message)
    same_N = logits_NK.argmax(1) == wanted_NK.argmax(1)
    return Distance(float(np.abs(logits_NK - wanted_NK).max()), float(same_N.mean()), len(wanted_NK))


def refuse_other(reference: Reference, found: Distance, file: str) -> None:
    """Raise `export_failed` when a file does not answer as the trained network does."""
    largest = float(np.abs(reference.logits_NK).max())
    limit = TOLERANCE * max(largest, 1e-6)
    if found.max_abs_difference > limit or found.top1_agreement < AGREEMENT:
        message = (
            f"{file} does not answer as the trained network does: its logits differ by up to "
            f"{found.max_abs_difference:.3g} ({limit:.3g} is allowed), and {found.top1_agreement:.1%} of "
            f"{found.images} validation images are told alike ({AGREEMENT:.0%} are asked for)."
        )
        raise RunFailure(FailureCode.EXPORT_FAILED, message)
