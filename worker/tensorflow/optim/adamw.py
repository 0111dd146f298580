"""Adam with decoupled weight decay: torch.optim.AdamW."""

from typing import Any

import tensorflow as tf

from app.contract.training import AdamW as Spec
from worker.tensorflow.optim import Optimizer, cast


class AdamW(Optimizer):
    """weight -= rate decay weight; weight -= rate mean / (1 - b1^t) / (sqrt(square / (1 - b2^t)) + epsilon).

    What betas leave of 1 is found in fp64: in fp32 nothing is left by 0.99999999.
    """

    moments = ("mean", "square")

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec.learning_rate, spec.weight_decay)
        self.betas, self.epsilon = spec.betas, spec.epsilon

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Of one weight."""
        rate, gradient = cast(learning_rate, variable), cast(gradient, variable)
        step = tf.cast(self.iterations + 1, tf.float64)
        kept, new = (
            [cast(each, variable) for each in part] for part in (self.betas, [1 - each for each in self.betas])
        )
        mean, square = self.moment("mean", variable), self.moment("square", variable)
        self.assign(mean, kept[0] * mean + new[0] * gradient)
        self.assign(square, kept[1] * square + new[1] * gradient * gradient)
        if self.decays(variable):
            self.assign_sub(variable, rate * cast(self.decay, variable) * variable)
        first, second = (cast(1 - tf.pow(tf.constant(each, tf.float64), step), variable) for each in self.betas)
        scale = tf.sqrt(square / second) + cast(self.epsilon, variable)
        self.assign_sub(variable, rate * (mean / first) / scale)


def build(spec: Spec) -> Optimizer:
    """See the package."""
    return AdamW(spec)
