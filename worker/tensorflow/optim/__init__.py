"""Optimizers as torch defines them, for Keras: its own SGD and AdamW decay weights and keep momentum in other ways.

A kind is a file with `build(spec) -> keras.Optimizer`. Schedules are torch's path's: the rate is set before each step.
Weights of one dimension, which are biases and those of normalisations, do not decay.
"""

from importlib import import_module
from typing import Any

import keras
import tensorflow as tf

from app.contract.training import Training


class Optimizer(keras.optimizers.Optimizer):  # type: ignore[misc]
    """With as many moments of each weight as the kind names."""

    moments: tuple[str, ...] = ()

    def __init__(self, learning_rate: float, weight_decay: float) -> None:
        super().__init__(learning_rate=learning_rate)
        self.decay = weight_decay
        self._moments: dict[str, list[Any]] = {}

    def build(self, variables: Any) -> None:
        """Make the moments, all 0."""
        if self.built:
            return
        super().build(variables)
        for name in self.moments:
            self._moments[name] = [self.add_variable_from_reference(each, name) for each in variables]

    def moment(self, name: str, variable: Any) -> Any:
        """Of a weight."""
        return self._moments[name][self._get_variable_index(variable)]

    def decays(self, variable: Any) -> bool:
        """Whether a weight does."""
        return bool(self.decay) and len(variable.shape) > 1


def make_optimizer(training: Training) -> Optimizer:
    """The optimizer of the spec. Call it in the scope of the devices."""
    made: Optimizer = import_module(f"{__name__}.{training.optimizer.kind}").build(training.optimizer)
    return made


def cast(value: Any, variable: Any) -> Any:
    """A number in the type of a weight. `tf.cast` alone would leave those of Python no more digits than fp32 has."""
    exact = tf.constant(value, tf.float64) if isinstance(value, float) else value
    return tf.cast(exact, variable.dtype)
