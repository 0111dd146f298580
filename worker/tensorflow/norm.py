"""Batch normalisation as torch has it: what Keras's layers become in every network that is trained here.

Keras's own keeps running statistics with the momentum that each application sets, 0.99 to 0.999: after the 300 steps of
a small job they are still mostly the initial values, and evaluation is of another network than training. torch's is
0.9, of unbiased variances, for every network.
"""

from typing import Any

import keras
import tensorflow as tf

MOMENTUM = 0.9
_FUSED = ("float32", "bfloat16", "float16")

# N = images of a device, H W = height and width, C = channels


class BatchNorm(keras.layers.BatchNormalization):  # type: ignore[misc]
    """Over a device's part of the batch; with `over_all` over the parts of all devices, whatever their sizes.

    Running statistics are the mean of the devices', and the same on each.
    """

    over_all = False
    edges_D1: Any = None
    """Where the devices' parts of the batch under way begin and end; a device without one counts for nothing."""

    def add_weight(self, *args: Any, **kwargs: Any) -> Any:
        """Devices agree on running statistics by their mean."""
        if not kwargs.get("trainable", True):
            kwargs["aggregation"] = "mean"
        return super().add_weight(*args, **kwargs)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """In training by the batch's statistics, which the running ones follow."""
        compute = inputs.dtype if inputs.dtype in (tf.float32, tf.float64) else tf.float32
        values_NHWC = tf.cast(inputs, compute)
        gamma, beta = self._scale_and_shift(compute)
        if not training or not self.trainable:
            moving = tf.cast(self.moving_mean, compute), tf.cast(self.moving_variance, compute)
            outputs = tf.nn.batch_normalization(values_NHWC, *moving, beta, gamma, self.epsilon)
        elif self.over_all or values_NHWC.shape.rank != 4 or compute == tf.float64:
            outputs = self._by_sums(values_NHWC, gamma, beta)
        else:
            outputs = self._fused(values_NHWC, gamma, beta)
        return tf.cast(outputs, self.compute_dtype)

    def _scale_and_shift(self, dtype: Any) -> tuple[Any, Any]:
        channels = (self.moving_mean.shape[0],)
        gamma = tf.cast(self.gamma, dtype) if self.scale else tf.ones(channels, dtype)
        beta = tf.cast(self.beta, dtype) if self.center else tf.zeros(channels, dtype)
        return gamma, beta

    def _fused(self, values_NHWC: Any, gamma: Any, beta: Any) -> Any:
        """One kernel; its variance is unbiased."""
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(values_NHWC, gamma, beta, epsilon=self.epsilon)
        self._follow(mean, variance)
        return outputs

    def _by_sums(self, values: Any, gamma: Any, beta: Any) -> Any:
        """Two passes, mean first, so that the variance is no difference of large numbers."""
        axes = list(range(values.shape.rank - 1))
        counts = self._counts(values.dtype)
        count = tf.cast(tf.size(values) // tf.shape(values)[-1], values.dtype) * counts
        total, sums = self._over_devices([count, tf.reduce_sum(values, axes) * counts])
        mean = sums / total
        (squares,) = self._over_devices([tf.reduce_sum(tf.math.squared_difference(values, mean), axes) * counts])
        variance = squares / total
        self._follow(mean, squares / tf.maximum(total - 1, 1))
        return tf.nn.batch_normalization(values, mean, variance, beta, gamma, self.epsilon)

    def _counts(self, dtype: Any) -> Any:
        """1, or 0 where the device's images are another one's."""
        context = tf.distribute.get_replica_context()
        if self.edges_D1 is None or context is None:
            return tf.ones((), dtype)
        number = context.replica_id_in_sync_group
        return tf.cast(self.edges_D1[number + 1] > self.edges_D1[number], dtype)

    def _over_devices(self, values: list[Any]) -> list[Any]:
        context = tf.distribute.get_replica_context()
        if not self.over_all or context is None or context.num_replicas_in_sync == 1:
            return values
        return list(_summed(context)(*values))

    def _follow(self, mean: Any, variance: Any) -> None:
        for variable, found in ((self.moving_mean, mean), (self.moving_variance, variance)):
            known = tf.cast(variable, found.dtype)
            variable.assign(known * MOMENTUM + found * (1 - MOMENTUM))


def _summed(context: Any) -> Any:
    """Sums over the devices; the gradient of a sum is the sum of the gradients.

    `all_reduce` alone would do, but TensorFlow looks for variables behind each of its results, through the whole
    networks of all other devices: tracing MobileNetV2 on two took minutes. Nothing is looked for behind a stop.
    """

    @tf.custom_gradient
    def summed(*values: Any) -> Any:
        return added_up(context, values), lambda *gradients: added_up(context, gradients)

    return summed


def added_up(context: Any, values: Any) -> Any:
    """Sums over the devices, behind which nobody looks for a gradient."""
    return context.all_reduce(tf.distribute.ReduceOp.SUM, [tf.stop_gradient(each) for each in values])
