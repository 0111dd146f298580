"""The moving average against its closed formula, and what the network is while it is shown."""

import pytest
import torch
from torch import nn

from app.contract.options import Ema
from worker.training.averaging import Average


class Tied(nn.Module):
    """Batch statistics with a counter, and one weight with two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3, bias=False)
        self.norm = nn.BatchNorm1d(3)
        self.second = nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.second(self.norm(self.first(images)))


def states_of(network: nn.Module, average: Average, steps: int) -> list[dict[str, torch.Tensor]]:
    """The network's own states, of the beginning and after each step."""
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    states = [copied(network)]
    for step in range(1, steps + 1):
        network(torch.randn(5, 3, dtype=torch.float64)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        average.step_made(step)
        states.append(copied(network))
    return states


def copied(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def network() -> nn.Module:
    torch.manual_seed(0)
    return Tied().double()


def test_the_average_is_the_sum_of_all_states_by_their_weights() -> None:
    made = network()
    average = Average.begin(Ema(decay=0.8, warmup=False), made)
    states = states_of(made, average, 7)
    weights = [0.8**7, *(0.2 * 0.8 ** (7 - step) for step in range(1, 8))]
    assert sum(weights) == pytest.approx(1)
    for name in ("first.weight", "second.weight", "norm.weight", "norm.running_mean", "norm.running_var"):
        closed = sum(weight * state[name] for weight, state in zip(weights, states, strict=True))
        torch.testing.assert_close(average.tensors[name], closed, rtol=0, atol=1e-14)
    assert average.tensors["norm.num_batches_tracked"] == 7


def test_with_a_warmup_the_first_steps_forget_faster() -> None:
    spec = Ema(decay=0.5)
    assert [spec.decay_of(step) for step in (1, 2, 7, 8, 9)] == [2 / 11, 3 / 12, 8 / 17, 0.5, 0.5]
    made = network()
    average = Average.begin(spec, made)
    states = states_of(made, average, 10)
    expected = states[0]["first.weight"]
    for step in range(1, 11):
        expected = spec.decay_of(step) * expected + (1 - spec.decay_of(step)) * states[step]["first.weight"]
    torch.testing.assert_close(average.tensors["first.weight"], expected, rtol=0, atol=1e-14)


def test_while_it_is_shown_the_network_is_the_average_and_afterwards_itself_again() -> None:
    made = network()
    average = Average.begin(Ema(decay=0.8, warmup=False), made)
    own = states_of(made, average, 3)[-1]
    averaged = {name: tensor.clone() for name, tensor in average.tensors.items()}
    parameters = list(made.parameters())
    seen = {}

    def evaluation() -> None:
        with average.shown():
            seen.update(copied(made))
            raise KeyError("it fails")

    with pytest.raises(KeyError):
        evaluation()
    assert all(torch.equal(tensor, averaged[name]) for name, tensor in seen.items())
    assert seen.keys() == averaged.keys()
    assert all(torch.equal(tensor, own[name]) for name, tensor in made.state_dict().items())
    assert all(torch.equal(tensor, averaged[name]) for name, tensor in average.tensors.items())
    assert [id(each) for each in made.parameters()] == [id(each) for each in parameters]


def test_what_was_saved_is_gone_on_with() -> None:
    made = network()
    average = Average.begin(Ema(decay=0.8, warmup=False), made)
    states_of(made, average, 3)
    other = network()
    again = Average.begin(average.spec, other)
    again.load(average.tensors)
    other.load_state_dict(made.state_dict())
    for each, kept in ((made, average), (other, again)):
        torch.manual_seed(1)
        states_of(each, kept, 2)
    assert all(torch.equal(tensor, again.tensors[name]) for name, tensor in average.tensors.items())
