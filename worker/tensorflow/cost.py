"""What a network costs, counted as torch's path counts it: see worker/training/cost.py."""

from math import prod
from typing import Any

import keras

from app.contract.plan import NetworkCost

FP32_BYTES = 4


def network_cost(model: Any) -> NetworkCost:
    """Parameters, MACs of one image and bytes. Parameters are what can be trained: running statistics are buffers."""
    return NetworkCost(
        parameters=parameters(model),
        macs=sum(layer_macs(layer) for layer in model.layers),
        weights_bytes=FP32_BYTES * sum(prod(each.shape) for each in model.weights),
    )


def parameters(layer: Any) -> int:
    """Of a layer or a network."""
    return sum(prod(each.shape) for each in layer.trainable_weights)


def layer_macs(layer: Any) -> int:
    """Multiply-accumulates of all calls of a layer for one image: of convolutions and matrix products, biases apart."""
    if not isinstance(layer, _PRODUCTS):
        return 0
    return sum(_macs(layer, node.output_tensors[0].shape) for node in layer._inbound_nodes)


_PRODUCTS = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
    keras.layers.Dense,
)


def _macs(layer: Any, output_shape: tuple[int | None, ...]) -> int:
    """Each output value of a kernel (h, w, C, O) takes as many as the kernel has weights for it."""
    places = prod(output_shape[1:-1])  # type: ignore[arg-type]
    if isinstance(layer, keras.layers.SeparableConv2D):
        return places * (prod(layer.depthwise_kernel.shape) + prod(layer.pointwise_kernel.shape))
    return places * prod(layer.kernel.shape)
