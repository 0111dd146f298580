"""Groups of channels are averaged, and the convolution reads the means: see
worker/training/compression/activation_compression.py.
"""

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from app.contract.compression import ActivationCompression
from worker.tensorflow.compression import EXCLUDED, READS_IMAGE, Scene, inputs, unusual
from worker.training.errors import bad_spec
from worker.training.patterns import matches, selected

Array = npt.NDArray[Any]

# N = images, H W = height and width, C = channels, G = groups of channels, R = channels in a group


class GroupMean(keras.layers.Layer):  # type: ignore[misc]
    """The mean of each group of `ratio` neighbouring channels."""

    def __init__(self, ratio: int, **options: Any) -> None:
        super().__init__(**options)
        self.ratio = ratio

    def call(self, images_NHWC: Any) -> Any:
        height, width, channels = images_NHWC.shape[1:]
        shape = (-1, height, width, channels // self.ratio, self.ratio)
        return tf.reduce_mean(tf.reshape(images_NHWC, shape), -1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[:-1], input_shape[-1] // self.ratio)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "ratio": self.ratio}


class LearnedGroupMean(keras.layers.Conv2D):  # type: ignore[misc]
    """A 1x1 convolution from all channels to the groups, which starts as the group mean."""


def choose(spec: ActivationCompression, scene: Scene) -> Mapping[str, str]:
    """Why each convolution stays as it is; empty for those that are narrowed."""
    layers = scene.convolutions
    unwanted = selected(spec.exclude, layers, f"{scene.pointer}/exclude")
    wanted = None if spec.layers is None else selected(spec.layers, layers, f"{scene.pointer}/layers")
    reasons = {name: next(_obstacles(spec, layer, scene), "") for name, layer in layers.items()}
    _refuse_asked_for(spec, layers, reasons, unwanted, scene.pointer)
    for name in layers:
        if name in unwanted:
            reasons[name] = EXCLUDED
        elif wanted is not None and name not in wanted:
            reasons[name] = "not among the layers of the spec"
    return scene.in_order(reasons)


def convert(spec: ActivationCompression, layer: Any) -> list[Any]:
    """reduce (group means) -> the original, reading 1/ratio of the channels."""
    name, channels = layer.name, inputs(layer)
    config = layer.get_config() | {"name": f"{name}_narrow"}
    return [_means(spec, f"{name}_reduce", channels), keras.layers.Conv2D.from_config(config)]


def start(spec: ActivationCompression, dense: Mapping[str, Array], _made: Mapping[str, Array]) -> dict[str, Array]:
    """The layer's weights summed over each group: where a group's channels are equal, the outputs are too."""
    kernel_hwCO = dense["kernel"]
    height, width, channels, outputs = kernel_hwCO.shape
    narrow = kernel_hwCO.reshape(height, width, channels // spec.ratio, spec.ratio, outputs).sum(3)
    bias = {"_narrow/bias": dense["bias"]} if "bias" in dense else {}
    means = {"_reduce/kernel": _mean_kernel(channels, spec.ratio)} if spec.learned else {}
    return {"_narrow/kernel": narrow, **bias, **means}


def _means(spec: ActivationCompression, name: str, channels: int) -> Any:
    if not spec.learned:
        return GroupMean(spec.ratio, name=name)
    return LearnedGroupMean(channels // spec.ratio, 1, use_bias=False, name=name)


def _mean_kernel(channels: int, ratio: int) -> Array:
    mean_CG = np.repeat(np.eye(channels // ratio), ratio, axis=0) / ratio
    return mean_CG[None, None]


def _obstacles(spec: ActivationCompression, layer: Any, scene: Scene) -> Iterator[str]:
    if scene.reads_image(layer):
        yield READS_IMAGE
    if reason := unusual(layer):
        yield reason
    if reason := _uneven(spec, layer):
        yield reason
    if spec.where == "single_reader" and (readers := scene.readers(layer)) > 1:
        yield f"{readers} operations read its input"
    if spec.learned and not _pays(spec, layer):
        yield "its learned average would have more weights than the narrower layer saves"


def _uneven(spec: ActivationCompression, layer: Any) -> str:
    channels = inputs(layer)
    if channels < spec.ratio:
        return f"its {channels} channels are fewer than the ratio of {spec.ratio}"
    return f"its {channels} channels do not divide by {spec.ratio}" if channels % spec.ratio else ""


def _pays(spec: ActivationCompression, layer: Any) -> bool:
    weights = prod(layer.kernel.shape)
    return inputs(layer) ** 2 // spec.ratio < weights - weights // spec.ratio


def _refuse_asked_for(
    spec: ActivationCompression,
    layers: Mapping[str, Any],
    reasons: Mapping[str, str],
    unwanted: set[str],
    pointer: str,
) -> None:
    """A layer asked for by its name must be possible; one caught by a wildcard must at least divide."""
    for index, pattern in enumerate(spec.layers or ()):
        for name, layer in layers.items():
            asked = name == pattern or reasons[name] == _uneven(spec, layer)
            if matches(name, pattern) and name not in unwanted and asked and reasons[name]:
                detail = f"{name} cannot be compressed: {reasons[name]}. Use another ratio, or name other layers."
                raise bad_spec(f"{pointer}/layers/{index}", detail, "layer_does_not_fit")
