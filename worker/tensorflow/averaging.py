"""A moving average of a network's weights, kept beside them while it is trained (`ema` of a spec)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from app.contract.options import Ema
from worker.tensorflow import architecture


class Average:
    """Of one network, on the first of its devices. What is no float, such as a count of draws, is copied."""

    def __init__(self, spec: Ema, model: Any) -> None:
        """Begins at the weights that the network has now."""
        self._spec, self._model = spec, model
        self._averages = {each.path: tf.Variable(each.numpy(), trainable=False) for each in model.variables}
        signature = [tf.TensorSpec([], tf.float64)]
        self._follow = tf.function(self._all_follow, input_signature=signature, autograph=False)

    @property
    def tensors(self) -> dict[str, Any]:
        """On the host."""
        return {path: each.numpy() for path, each in self._averages.items()}

    def load(self, tensors: Mapping[str, Any]) -> None:
        """Go on from what was saved."""
        for path, each in self._averages.items():
            each.assign(tensors[path])

    def step_made(self, step: int) -> None:
        """Take in the weights as they are after optimizer step `step`, counted from 1."""
        self._follow(tf.constant(1 - self._spec.decay_of(step), tf.float64))

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Inside, the network has the average in place of its weights: to be evaluated, not to be trained."""
        living = architecture.weights_of(self._model)
        architecture.set_weights(self._model, self.tensors)
        try:
            yield
        finally:
            architecture.set_weights(self._model, living)

    def _all_follow(self, share: Any) -> None:
        for variable in self._model.variables:
            average, living = self._averages[variable.path], tf.convert_to_tensor(variable.value)
            if average.dtype.is_floating:
                average.assign_add(tf.cast(share, average.dtype) * (living - average))
            else:
                average.assign(living)
