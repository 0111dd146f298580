"""A dense k x k convolution split in two: see worker/training/compression/depthwise_separable.py."""

from collections.abc import Mapping
from math import prod
from typing import Any

import keras
import numpy.typing as npt

from app.contract.compression import DepthwiseSeparable
from worker.tensorflow.compression import EXCLUDED, READS_IMAGE, Scene, inputs, unusual
from worker.tensorflow.compression._svd import depthwise_halves
from worker.tensorflow.norm import BatchNorm
from worker.training.patterns import selected

VARIANCE = {"relu": 2.0, "silu": 2.81, "none": 1.0}
"""What the variance of the next weights is multiplied by, behind the activation: as in torch's path."""
_ACTIVATIONS = {"relu": "relu", "silu": "silu"}

Array = npt.NDArray[Any]


def choose(spec: DepthwiseSeparable, scene: Scene) -> Mapping[str, str]:
    """Why each convolution stays as it is; empty for those that are split."""
    layers = scene.convolutions
    unwanted = selected(spec.exclude, layers, f"{scene.pointer}/exclude")
    reasons = {name: _reason(spec, layer, name in unwanted, scene) for name, layer in layers.items()}
    return scene.in_order(reasons)


def convert(spec: DepthwiseSeparable, layer: Any) -> list[Any]:
    """depthwise -> norm -> activation -> pointwise, or depthwise -> pointwise where it stands for trained weights."""
    name, filters = layer.name, _filters(spec, layer)
    depthwise = keras.layers.DepthwiseConv2D(
        layer.kernel_size,
        strides=layer.strides,
        padding=layer.padding,
        dilation_rate=layer.dilation_rate,
        depth_multiplier=filters,
        use_bias=False,
        depthwise_initializer=_normal(1.0 / prod(layer.kernel_size)),
        name=f"{name}_depthwise",
    )
    pointwise = keras.layers.Conv2D(
        layer.filters,
        1,
        use_bias=layer.use_bias,
        activation=layer.activation,
        kernel_initializer=_normal(VARIANCE[spec.activation] / (inputs(layer) * filters)),
        name=f"{name}_pointwise",
    )
    between = [] if spec.init == "svd" else _between(spec, name)
    return [depthwise, *between, pointwise]


def start(spec: DepthwiseSeparable, dense: Mapping[str, Array], made: Mapping[str, Array]) -> dict[str, Array]:
    """The weights that the two begin with, by the ends of their names; those that are not here stay as drawn."""
    if spec.init != "svd":
        return {}
    bias = {"_pointwise/bias": dense["bias"]} if "bias" in dense else {}
    weight_OChw = dense["kernel"].transpose(3, 2, 0, 1)
    filters = made["_depthwise/kernel"].shape[3]
    filters_CRK, columns_COR = depthwise_halves(weight_OChw, filters)
    channels = len(filters_CRK)
    height, width = weight_OChw.shape[2:]
    kernel = filters_CRK.transpose(2, 0, 1).reshape(height, width, channels, filters)
    pointwise = columns_COR.transpose(0, 2, 1).reshape(1, 1, channels * filters, -1)
    return {"_depthwise/kernel": kernel, "_pointwise/kernel": pointwise, **bias}


def _reason(spec: DepthwiseSeparable, layer: Any, unwanted: bool, scene: Scene) -> str:
    if unwanted:
        return EXCLUDED
    if max(layer.kernel_size) == 1:
        return "its kernel is 1x1"
    if not spec.include_stem and scene.reads_image(layer):
        return f"{READS_IMAGE} (include_stem is false)"
    return unusual(layer) or _not_in_keras(layer) or _no_gain(spec, layer)


def _not_in_keras(layer: Any) -> str:
    if len(set(layer.strides)) > 1:
        return "its strides differ, and TensorFlow's depthwise convolution has one"
    if max(layer.strides) > 1 and max(layer.dilation_rate) > 1:
        return "it is both strided and dilated"
    return ""


def _no_gain(spec: DepthwiseSeparable, layer: Any) -> str:
    if spec.init == "svd" and spec.rank is None:
        return ""
    normalised = 2 if spec.init == "random" else 0
    before, filters = prod(layer.kernel.shape), _filters(spec, layer)
    after = inputs(layer) * filters * (prod(layer.kernel_size) + normalised + layer.filters)
    return "" if after < before else f"it has {before} weights, its two halves would have {after}"


def _filters(spec: DepthwiseSeparable, layer: Any) -> int:
    if spec.init == "random":
        return spec.rank or 1
    full = min(prod(layer.kernel_size), layer.filters)
    return min(spec.rank or full, full)


def _between(spec: DepthwiseSeparable, name: str) -> list[Any]:
    norm = BatchNorm(epsilon=1e-5, name=f"{name}_depthwise_bn")
    if spec.activation == "none":
        return [norm]
    return [norm, keras.layers.Activation(_ACTIVATIONS[spec.activation], name=f"{name}_depthwise_{spec.activation}")]


def _normal(variance: float) -> Any:
    return keras.initializers.RandomNormal(stddev=variance**0.5)
