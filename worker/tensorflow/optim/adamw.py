"""Adam with decoupled weight decay: torch.optim.AdamW."""

from typing import Any

import tensorflow as tf

from app.contract.training import AdamW as Spec
from worker.tensorflow.optim import Optimizer, cast


class AdamW(Optimizer):
    """weight -= rate decay weight; weight -= rate mean / (1 - b1^t) / (sqrt(square / (1 - b2^t)) + epsilon)."""

    moments = ("mean", "square")

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec.learning_rate, spec.weight_decay)
        self.betas, self.epsilon = spec.betas, spec.epsilon

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Of one weight."""
        rate, gradient = cast(learning_rate, variable), cast(gradient, variable)
        step = cast(self.iterations + 1, variable)
        betas = [cast(each, variable) for each in self.betas]
        mean, square = self.moment("mean", variable), self.moment("square", variable)
        self.assign(mean, betas[0] * mean + (1 - betas[0]) * gradient)
        self.assign(square, betas[1] * square + (1 - betas[1]) * gradient * gradient)
        if self.decays(variable):
            self.assign_sub(variable, rate * cast(self.decay, variable) * variable)
        first, second = (1 - tf.pow(beta, step) for beta in betas)
        scale = tf.sqrt(square / second) + cast(self.epsilon, variable)
        self.assign_sub(variable, rate * (mean / first) / scale)


def build(spec: Spec) -> Optimizer:
    """See the package."""
    return AdamW(spec)
