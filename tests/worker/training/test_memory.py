"""Memory that is too little: recognised, and answered with fewer images at a time."""

import errno
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from worker.training.board import Board
from worker.training.checkpoint import Position
from worker.training.council import Council
from worker.training.distributed.single import SingleRank
from worker.training.errors import RunFailure
from worker.training.evaluation import evaluate
from worker.training.loop import Share, Trainee, train_epoch
from worker.training.memory import MicroBatch, TooLarge, least_images, ran_out, smaller_of
from worker.training.mixing import Partners
from worker.training.opencv import cv2
from worker.training.precision import Precision

CPU = torch.device("cpu")


def no_room(array_bytes: int) -> Any:
    return torch.empty(array_bytes, dtype=torch.uint8)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: no_room(1 << 50),
        lambda: np.empty(1 << 50, np.uint8),
        lambda: bytearray(1 << 50),
        lambda: cv2.resize(np.zeros((8, 8), np.float64), (2**30, 2**15)),
    ],
    ids=["torch", "numpy", "python", "opencv"],
)
def test_a_refused_allocation_is_recognised_whoever_asked_for_it(ask: Any) -> None:
    with pytest.raises((RuntimeError, MemoryError, cv2.error)) as refusal:
        ask()
    assert ran_out(refusal.value), refusal.value


def test_other_kinds_of_running_out_are_recognised_and_other_errors_are_not() -> None:
    assert ran_out(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert ran_out(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
    assert ran_out(RuntimeError("std::bad_alloc"))
    assert ran_out(OSError(errno.ENOMEM, "Cannot allocate memory"))
    assert not ran_out(OSError(errno.ENOSPC, "No space left on device"))
    assert not ran_out(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not ran_out(ValueError("out of memory, said a string"))


@pytest.mark.parametrize(
    ("images", "least", "most", "pieces"),
    [(64, 1, None, 1), (64, 1, 64, 1), (64, 1, 63, 2), (65, 1, 16, 5), (7, 1, 1, 7), (3, 2, 2, 1), (7, 2, 2, 3)],
)
def test_a_share_is_cut_so_that_no_piece_is_too_large_or_too_small(
    images: int, least: int, most: int | None, pieces: int
) -> None:
    micro_batch = MicroBatch(images, least, most)
    assert micro_batch.pieces(images) == pieces
    share = Share(torch.zeros(images, 1, 1, 1), torch.arange(images), images)
    cut = list(share.cut(pieces))
    assert torch.equal(torch.cat([piece.labels_N for piece in cut]), share.labels_N)
    assert min(len(piece.labels_N) for piece in cut) >= least
    assert max(len(piece.labels_N) for piece in cut) <= max(most or images, 2 * least - 1)


def test_each_time_half_of_what_was_tried_is_tried_next_down_to_the_least() -> None:
    def refused(most: int | None) -> RunFailure:
        with pytest.raises(RunFailure) as end, MicroBatch(37, 2, most).fitting():
            no_room(1 << 50)
        return end.value

    trouble, tried = refused(None), []
    while isinstance(trouble, TooLarge):
        tried.append(trouble.smaller)
        trouble = refused(trouble.smaller)
    assert tried == [19, 10, 5, 3, 2]
    assert trouble.failure.code == "out_of_memory"
    assert "2 images at a time" in trouble.failure.message
    assert not trouble.failure.retryable
    assert "batch_size" in trouble.failure.hint


def test_errors_that_have_nothing_to_do_with_memory_pass_through() -> None:
    with pytest.raises(KeyError), MicroBatch(8).fitting():
        raise KeyError("weight")


def test_networks_with_batch_statistics_need_two_images_at_a_time() -> None:
    assert least_images(nn.Sequential(nn.Linear(2, 2), nn.GroupNorm(1, 2))) == 1
    assert least_images(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))) == 2


def test_of_two_limits_the_stricter_counts_and_none_is_no_limit() -> None:
    assert [smaller_of(*both) for both in [(None, None), (4, None), (None, 5), (4, 5)]] == [None, 4, 5, 4]


def weights_after_a_step(most: int | None, norm: type[nn.Module], *, mixed: bool = False) -> torch.Tensor:
    """Of a small fp64 network, after one step on 11 images in pieces of at most `most`."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 6), norm(6), nn.ReLU(), nn.Linear(6, 3)).double()
    partners = Partners(torch.arange(1, 12) % 3, torch.linspace(0, 1, 11, dtype=torch.float64)) if mixed else None
    share = Share(torch.randn(11, 3, 2, 2, dtype=torch.float64), torch.arange(11) % 3, 11, partners)
    trainee = Trainee(
        network=network,
        wrapped=network,
        optimizer=torch.optim.SGD(network.parameters(), 0.1),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        precision=Precision("cpu", torch.float64),
        rate=lambda _step: 0.1,
        position=Position("training"),
        micro_batch=MicroBatch(11, 1, most),
    )
    ranks = SingleRank(CPU)
    council = Council(ranks, Board(1), lambda _rows: None, 1)
    list(train_epoch(trainee, [share], ranks, council, lambda _step, _rate, _images: None))
    return torch.cat([weight.detach().flatten() for weight in network.parameters()])


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("most", [1, 4, 10])
def test_gradients_of_pieces_add_up_to_those_of_the_batch(most: int, mixed: bool) -> None:
    whole = weights_after_a_step(None, nn.LayerNorm, mixed=mixed)
    torch.testing.assert_close(weights_after_a_step(most, nn.LayerNorm, mixed=mixed), whole, atol=1e-14, rtol=0)


def test_the_partners_labels_have_a_part_in_the_gradients() -> None:
    plain, mixed = (weights_after_a_step(4, nn.LayerNorm, mixed=mixed) for mixed in (False, True))
    assert (plain - mixed).abs().max() > 1e-4


def test_batch_statistics_are_those_of_a_piece() -> None:
    """What docs/decisions/0013 says; if this ever fails, it says too little."""
    assert (weights_after_a_step(4, nn.BatchNorm1d) - weights_after_a_step(None, nn.BatchNorm1d)).abs().max() > 1e-4


class Narrow(nn.Module):
    """Has no room for more than 3 images, for real; remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[int] = []

    def forward(self, images_NK: torch.Tensor) -> torch.Tensor:
        self.given.append(len(images_NK))
        if len(images_NK) > 3:
            no_room(1 << 50)
        return images_NK


def test_evaluation_takes_as_many_images_at_a_time_as_fit() -> None:
    logits_NK = torch.randn(23, 5, generator=torch.Generator().manual_seed(0))
    labels_N = torch.arange(23) % 5
    batches = [(logits_NK[:16], labels_N[:16]), (logits_NK[16:], labels_N[16:])]
    network = Narrow()
    score = evaluate(network, batches, SingleRank(CPU), Precision("cpu"), tick=lambda: None)
    assert score.loss == pytest.approx(nn.functional.cross_entropy(logits_NK, labels_N).item(), abs=1e-6)
    assert score.accuracy == (logits_NK.argmax(1) == labels_N).double().mean().item()
    assert network.given == [16, 8, 4] + [2] * 8 + [2, 2, 2, 1], "what did not fit once is not tried again"


def test_evaluation_ends_when_not_even_one_image_fits() -> None:
    class Full(nn.Module):
        def forward(self, _images: torch.Tensor) -> torch.Tensor:
            return no_room(1 << 50)

    batch = torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        evaluate(Full(), [batch], SingleRank(CPU), Precision("cpu"), tick=lambda: None)
