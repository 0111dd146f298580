"""Dropout whose draws are a function of a saved count: what Keras's layers become in every network trained here.

The state of Keras's own generators has no rule for several devices, and MirroredStrategy refuses to change it.
"""

import random
from typing import Any

import keras
import tensorflow as tf


class Dropout(keras.layers.Layer):  # type: ignore[misc]
    """Each device draws other numbers; a resumed run draws those that an unbroken one would."""

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.rate, self.noise_shape, self.seed = rate, noise_shape, seed

    def build(self, _input_shape: Any) -> None:
        """Where the count begins is a function of the job's seed, which Python's generator was given."""
        begin = keras.initializers.Constant(random.getrandbits(30))
        self.drawn = self.add_weight(
            shape=(), dtype="int64", initializer=begin, trainable=False, aggregation="only_first_replica", name="drawn"
        )

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        if not training or not self.rate:
            return inputs
        context = tf.distribute.get_replica_context()
        number = tf.cast(context.replica_id_in_sync_group if context else 0, tf.int64)
        drawn = tf.convert_to_tensor(self.drawn.value)
        self.drawn.assign(drawn + 1)
        values = tf.random.stateless_uniform(self._shape(inputs), tf.stack([drawn, number]))
        scaled = inputs * tf.cast(1 / (1 - self.rate), inputs.dtype)
        return tf.where(values >= self.rate, scaled, tf.zeros_like(scaled))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "noise_shape": self.noise_shape, "seed": self.seed}

    def _shape(self, inputs: Any) -> Any:
        """Of what is drawn; null stands for the input's own."""
        sizes = tf.shape(inputs)
        if self.noise_shape is None:
            return sizes
        return tf.stack([sizes[axis] if size is None else size for axis, size in enumerate(self.noise_shape)])
