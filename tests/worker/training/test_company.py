"""Ranks that compute each pass together evaluate in as many batches, and count each image once."""

import pytest
import torch

from app.contract.job import JobSpec
from app.contract.work import Paths, RunOrder
from worker.training import material
from worker.training.distributed.single import SingleRank
from worker.training.evaluation import evaluate
from worker.training.precision import Precision

pytestmark = pytest.mark.timeout(600)  # a busy machine opens the digits slowly

SPEC = {
    "dataset": {"kind": "builtin", "name": "digits", "validation_fraction": 0.2},
    "model": {"kind": "timm", "name": "test_resnet"},
    "augment": [{"kind": "resize", "size": [8, 8]}],
    "training": {"batch_size": 358},
}
CPU = torch.device("cpu")


def fed(rank: int, sharded: bool) -> material.Material:
    order = RunOrder(spec=JobSpec.model_validate(SPEC).resolved(), paths=Paths(run_dir="unused"))
    return material.prepare(order, SingleRank(CPU, rank, 2, sharded), threads=1)


@pytest.mark.parametrize("sharded", [True, False])
def test_359_images_are_two_batches_of_the_first_rank_and_one_of_the_second(sharded: bool) -> None:
    own, company = [], []
    for rank in (0, 1):
        feed = fed(rank, sharded)
        own.append([len(labels_N) for _, labels_N in feed.validation_batches(feed.largest_share)])
        company.append([len(labels_N) for _, labels_N in feed.validation_company(feed.largest_share)])
        feed.close()
    assert own == [[179, 1], [179]]
    assert company == ([[], [1]] if sharded else [[], []])


@pytest.mark.parametrize("sharded", [True, False])
def test_ranks_that_compute_together_score_no_more_images_at_a_time_than_they_train_on(sharded: bool) -> None:
    """Whose memory runs out could not take smaller pieces alone."""
    own, company = [], []
    for rank in (0, 1):
        feed = fed(rank, sharded)
        own.append([len(labels_N) for _, labels_N in feed.validation_batches(60)])
        company.append([len(labels_N) for _, labels_N in feed.validation_company(60)])
        feed.close()
    assert own == ([[60, 60, 60], [60, 60, 59]] if sharded else [[179, 1], [179]])
    assert company == [[], []]


def test_what_is_computed_along_has_no_part_in_the_score() -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3, 2))
    batch = (torch.randn(5, 3, 1, 1), torch.tensor([0, 1, 0, 1, 0]))
    calls: list[int] = []
    network.register_forward_hook(lambda *_: calls.append(1))
    alone, along = (
        evaluate(network, [batch], SingleRank(CPU, sharded=True), Precision("cpu"), lambda: None, company)
        for company in ([], [(batch[0] * 9, batch[1])])
    )
    assert alone == along
    assert len(calls) == 3
