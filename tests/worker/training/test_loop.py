import random

import torch
from torch import nn

from worker.training import seeds
from worker.training.distributed.single import SingleRank
from worker.training.evaluation import evaluate
from worker.training.loop import Share, settle
from worker.training.precision import Precision

CPU = torch.device("cpu")


class Unused(nn.Module):
    """A network with dropout, batch statistics, and a layer that nobody calls."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
        self.spare = nn.Linear(3, 3)

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        return self.body(images_NCHW) + random.random()


def example() -> Share:
    return Share(torch.zeros(2, 3, 2, 2), torch.zeros(2, dtype=torch.int64), 2)


def test_settling_leaves_no_trace_in_weights_statistics_gradients_or_random_numbers() -> None:
    network = Unused()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    rng = seeds.state(CPU)
    settle(network, example(), SingleRank(CPU), Precision("cpu"))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert seeds.state(CPU) == rng


def test_settling_leaves_weights_out_that_get_no_gradient() -> None:
    network = Unused()
    settle(network, example(), SingleRank(CPU), Precision("cpu"))
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, _ in network.named_parameters() if not name.startswith("spare")}


def test_evaluation_weighs_batches_by_their_size_and_leaves_the_statistics_alone() -> None:
    network = nn.Sequential(nn.BatchNorm1d(2, affine=False))
    logits_42 = torch.tensor([[9.0, 0.0], [9.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    labels_4 = torch.tensor([0, 0, 1, 1])
    batches = [(logits_42[:3], labels_4[:3]), (logits_42[3:], labels_4[3:])]
    score = evaluate(network, batches, SingleRank(CPU), Precision("cpu"), tick=lambda: None)
    expected = nn.functional.cross_entropy(logits_42 / (1 + 1e-5) ** 0.5, labels_4).item()
    assert score.accuracy == 0.75
    assert abs(score.loss - expected) < 1e-6
    assert network.training
    assert torch.equal(network[0].running_mean, torch.zeros(2))
