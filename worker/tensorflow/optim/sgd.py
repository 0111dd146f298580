"""Stochastic gradient descent with momentum: torch.optim.SGD."""

from typing import Any

from app.contract.training import Sgd as Spec
from worker.tensorflow.optim import Optimizer, cast


class Sgd(Optimizer):
    """buffer = momentum buffer + gradient + decay weight; weight -= rate buffer."""

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec.learning_rate, spec.weight_decay)
        self.momentum, self.nesterov = spec.momentum, spec.nesterov
        self.moments = ("momentum",) if spec.momentum else ()

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Of one weight."""
        gradient = cast(gradient, variable)
        if self.decays(variable):
            gradient += cast(self.decay, variable) * variable
        if self.momentum:
            buffer = self.moment("momentum", variable)
            held = cast(self.momentum, variable) * buffer + gradient
            self.assign(buffer, held)
            gradient = gradient + cast(self.momentum, variable) * held if self.nesterov else held
        self.assign_sub(variable, cast(learning_rate, variable) * gradient)


def build(spec: Spec) -> Optimizer:
    """See the package."""
    return Sgd(spec)
