"""One optimizer step and one batch of evaluation on all devices, each compiled once.

A whole batch goes in, and each device takes its part: the parts' sizes differ in the last step of an epoch, and a graph
that is told them needs no second one. The loss of a device is its sum over the global batch's size, and gradients are
added up over the devices: the result is the gradient of one device that has the whole batch.

At the end of an epoch there may be too few samples for all devices. Those without any compute with the first one's,
which count for nothing: not every layer can be given an empty batch.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from worker.tensorflow import devices
from worker.tensorflow.devices import Strategy
from worker.tensorflow.material import Step
from worker.tensorflow.norm import BatchNorm, added_up
from worker.tensorflow.optim import Optimizer
from worker.training.fitting import Normalization

# N = samples of a device, R = images that were read, H W = height and width, C = channels, K = classes


@dataclass
class Compiled:
    """Of one network. What comes back of a step is (sum of losses, right answers, samples), in fp64, not waited for.

    With `max_gradient_norm` there is a fourth: the norm that the gradients had, times the samples.
    """

    strategy: Strategy
    model: Any
    optimizer: Optimizer
    scaling: Normalization
    mixes: bool = False
    """Whether images are mixed with their partners."""
    smoothing: float = 0.0
    """Share of the answer that all classes have alike, in training."""
    max_gradient_norm: float | None = None
    _signature: list[Any] = field(init=False)

    def __post_init__(self) -> None:
        height, width, channels = self.model.input_shape[1:]
        self._signature = [
            tf.TensorSpec([None, height, width, channels], tf.uint8),
            tf.TensorSpec([None], tf.int64),
            tf.TensorSpec([self.strategy.num_replicas_in_sync + 1], tf.int64),
            tf.TensorSpec([None], tf.int64),
            tf.TensorSpec([None, 6], tf.float64),
        ]

    @property
    def published(self) -> tuple[str, ...]:
        """Names of what a step tells behind loss, hits and samples."""
        return () if self.max_gradient_norm is None else ("gradient_norm",)

    def train(self, step: Step, rate: float) -> Any:
        """Make a step."""
        self.optimizer.learning_rate.assign(rate)
        return self._train(*_tensors(step))

    def evaluate(self, step: Step) -> Any:
        """Score a batch; nothing changes."""
        return self._evaluate(*_tensors(step))

    def prepare(self) -> None:
        """Make both graphs, which may take minutes for a large network on many devices."""
        for each in (self._train, self._evaluate):
            each.get_concrete_function()

    @cached_property
    def _train(self) -> Any:
        return self._compiled(self._train_part)

    @cached_property
    def _evaluate(self) -> Any:
        return self._compiled(self._evaluate_part)

    def _compiled(self, part: Any) -> Any:
        """A part of the work on all devices. Nothing here is for AutoGraph, whose look at each call takes time."""

        def on_all(*batch: Any) -> Any:
            rows = self.strategy.run(part, args=batch)
            return self.strategy.reduce(tf.distribute.ReduceOp.SUM, rows, axis=None)

        return tf.function(on_all, input_signature=self._signature, autograph=False)

    def _train_part(self, *batch: Any) -> Any:
        images_NHWC, labels = self._part(*batch)
        samples = tf.shape(batch[3])[0]
        for layer in self._synchronised:
            layer.edges_D1 = batch[2]
        with tf.GradientTape() as tape:
            logits_NK = self._logits(images_NHWC, training=True)
            losses_N = labels.losses(logits_NK, self.smoothing)
            loss = tf.reduce_sum(losses_N) / tf.cast(samples, losses_N.dtype)
        weights = self.model.trainable_variables
        gradients = tape.gradient(loss, [each.value for each in weights])
        row = labels.row(losses_N, logits_NK)
        if self.max_gradient_norm is not None:
            gradients, norm = self._clipped(gradients, self.max_gradient_norm)
            row = tf.concat([row, [tf.cast(norm, tf.float64) * row[2]]], 0)
        self.optimizer.apply(gradients, weights)
        return row

    def _clipped(self, gradients: list[Any], most: float) -> tuple[list[Any], Any]:
        """So that the sums over the devices, which the optimizer makes, have this norm at most; and what they had.

        As torch's `clip_grad_norm_`. Gradients travel once more for it.
        """
        context = tf.distribute.get_replica_context()
        sums = added_up(context, gradients)
        norm = tf.linalg.global_norm(sums)
        share = tf.minimum(most / (norm + 1e-6), 1) / context.num_replicas_in_sync
        return [each * tf.cast(share, each.dtype) for each in sums], norm

    @cached_property
    def _synchronised(self) -> list[BatchNorm]:
        return [layer for layer in self.model.layers if isinstance(layer, BatchNorm) and layer.over_all]

    def _evaluate_part(self, *batch: Any) -> Any:
        images_NHWC, labels = self._part(*batch)
        logits_NK = self._logits(images_NHWC, training=False)
        return labels.row(labels.losses(logits_NK), logits_NK)

    def _logits(self, images_NHWC: Any, *, training: bool) -> Any:
        logits_NK = self.model(images_NHWC, training=training)
        return logits_NK if logits_NK.dtype == tf.float64 else tf.cast(logits_NK, tf.float32)

    def _part(
        self, images_RHWC: Any, labels_R: Any, edges: Any, places_B: Any, mixing_B6: Any
    ) -> tuple[Any, "_Labels"]:
        """Of this device, normalised and mixed."""
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        counts = edges[number + 1] > edges[number]
        first, end = tf.where(counts, edges[number], 0), tf.where(counts, edges[number + 1], edges[1])
        places_N, mixing_N6 = places_B[first:end], mixing_B6[first:end]
        own_NHWC = normalized(images_RHWC[first:end], self.scaling)
        own_N, other_N = labels_R[first:end], tf.gather(labels_R, places_N)
        labels = _Labels(own_N, other_N, tf.cast(mixing_N6[:, 0], own_NHWC.dtype), counts)
        if not self.mixes:
            return own_NHWC, labels
        other_NHWC = normalized(tf.gather(images_RHWC, places_N), self.scaling)
        kept = _kept(tf.cast(mixing_N6[:, 1:], own_NHWC.dtype), own_NHWC)
        return other_NHWC + kept * (own_NHWC - other_NHWC), labels


@dataclass(frozen=True)
class _Labels:
    """Own and partners' labels; `weights` are of the own, in [0, 1]."""

    own_N: Any
    other_N: Any
    weights_N: Any
    counts: Any
    """False: the images are another device's."""

    def losses(self, logits_NK: Any, smoothing: float = 0.0) -> Any:
        """The cross entropy of each image to both labels, weighted; 0 where the images do not count.

        `smoothing`: the share of the answer that all classes have alike.
        """
        weights_N = tf.cast(self.weights_N, logits_NK.dtype)
        own_N, other_N = (
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=each, logits=logits_NK)
            for each in (self.own_N, self.other_N)
        )
        losses_N = other_N + weights_N * (own_N - other_N)
        if smoothing:
            even_N = -tf.reduce_mean(tf.nn.log_softmax(logits_NK), 1)
            losses_N += smoothing * (even_N - losses_N)
        return losses_N * tf.cast(self.counts, losses_N.dtype)

    def row(self, losses_N: Any, logits_NK: Any) -> Any:
        """What counts as right is the label with more weight."""
        answers_N = tf.where(self.weights_N >= 0.5, self.own_N, self.other_N)
        counts = tf.cast(self.counts, tf.float64)
        right = tf.reduce_sum(tf.cast(tf.argmax(logits_NK, 1) == answers_N, tf.float64)) * counts
        samples = tf.cast(tf.shape(losses_N)[0], tf.float64) * counts
        return tf.stack([tf.reduce_sum(tf.cast(losses_N, tf.float64)), right, samples])


def normalized(images_NHWC: Any, scaling: Normalization) -> Any:
    """uint8 to what the network reads: (value / 255 - mean) / std, in the type of its weights."""
    dtype = np.dtype(devices.weights_type())
    scale_C = (1 / (255 * np.asarray(scaling.std))).astype(dtype)
    shift_C = (-np.asarray(scaling.mean) / np.asarray(scaling.std)).astype(dtype)
    return tf.cast(images_NHWC, dtype) * scale_C + shift_C


def _kept(mixing_N5: Any, images_NHWC: Any) -> Any:
    """The part of each pixel that is the image's own, as N x H x W x 1: 0 inside the box."""
    keep_N, top_N, left_N, height_N, width_N = tf.unstack(mixing_N5, axis=1)
    rows_NH = _inside(top_N, height_N, images_NHWC.shape[1])
    columns_NW = _inside(left_N, width_N, images_NHWC.shape[2])
    inside_NHW = rows_NH[:, :, None] & columns_NW[:, None, :]
    return tf.where(inside_NHW, tf.zeros_like(keep_N)[:, None, None], keep_N[:, None, None])[..., None]


def _inside(starts_N: Any, lengths_N: Any, size: int) -> Any:
    each = tf.range(size, dtype=starts_N.dtype)
    return (each >= starts_N[:, None]) & (each < (starts_N + lengths_N)[:, None])


def _tensors(step: Step) -> list[Any]:
    return [
        tf.constant(step.images_RHWC),
        tf.constant(step.labels_R, tf.int64),
        tf.constant(step.edges_D1, tf.int64),
        tf.constant(step.places_N, tf.int64),
        tf.constant(step.mixing_N6, tf.float64),
    ]
