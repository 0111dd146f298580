"""A moving average of a network's weights, kept beside them while it is trained (`ema` of a spec)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from app.contract.options import Ema


@dataclass
class Average:
    """Of one network, by the names of its state. What is no float, such as a counter of batches, is copied."""

    spec: Ema
    living: dict[str, Tensor]
    """The network's own."""
    tensors: dict[str, Tensor]
    """Their averages; one tensor with two names there has one here."""

    @classmethod
    def begin(cls, spec: Ema, network: nn.Module) -> "Average":
        """At the weights that the network has now."""
        living = network.state_dict(keep_vars=True)
        copies = {id(tensor): tensor.detach().clone() for tensor in living.values()}
        return cls(spec, living, {name: copies[id(tensor)] for name, tensor in living.items()})

    @torch.no_grad()
    def step_made(self, step: int) -> None:
        """Take in the weights as they are after optimizer step `step`, counted from 1. The host waits for nothing."""
        floats = [pair for pair in self._pairs if pair[1].is_floating_point()]
        averaged, new = [list(each) for each in zip(*floats, strict=True)]
        torch._foreach_lerp_(averaged, new, 1 - self.spec.decay_of(step))
        for average, living in self._pairs:
            if not living.is_floating_point():
                average.copy_(living)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Inside, the network has the average in place of its weights: to be evaluated, not to be trained."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def load_into_network(self) -> None:
        """The network becomes the average, for good."""
        self._exchange()

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what was saved."""
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors[name])

    def _exchange(self) -> None:
        """Only what tensors point at changes hands: optimizers, hooks and names stay with the network's own."""
        for average, living in self._pairs:
            living.data, average.data = average.data, living.data

    @cached_property
    def _pairs(self) -> list[tuple[Tensor, Tensor]]:
        """The average of each tensor, and the tensor; each once."""
        return list({id(average): (average, self.living[name]) for name, average in self.tensors.items()}.values())
