"""Compression of Keras's networks, by the definitions of worker/training/compression: the same layers change, for the
same reasons, into layers with the same weights.

To add a kind that torch's path has: a file of its name here with `choose(spec, scene) -> {layer: reason}` (empty where
it shall change), `convert(spec, layer) -> layers` (what takes its place, with new weights) and
`start(spec, kernels, made) -> None` (fill those from the dense layer's).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras

EXCLUDED = "excluded by the spec"
READS_IMAGE = "it reads the image"


@dataclass(frozen=True)
class Scene:
    """What a method may know when it chooses."""

    model: Any
    pointer: str
    """JSON Pointer of the method in the spec, for refusals."""

    @property
    def convolutions(self) -> dict[str, Any]:
        """Every plain one, by name, in the order of the network."""
        return {each.name: each for each in self.model.layers if type(each) is keras.layers.Conv2D}

    @property
    def others(self) -> dict[str, str]:
        """Why each convolution of another kind is not looked at further."""
        reasons = {}
        for each in self.model.layers:
            if isinstance(each, keras.layers.DepthwiseConv2D):
                reasons[each.name] = f"it has {each.kernel.shape[2]} groups already"
            elif isinstance(each, keras.layers.SeparableConv2D):
                reasons[each.name] = "it is a depthwise and a pointwise convolution in one"
        return reasons

    def in_order(self, reasons: Mapping[str, str]) -> dict[str, str]:
        """The reasons, with those of other convolutions, as the network has the layers."""
        known = {**self.others, **reasons}
        return {each.name: known[each.name] for each in self.model.layers if each.name in known}

    def reads_image(self, layer: Any) -> bool:
        """Whether nothing with weights stands between the image and this layer, or it reads as many channels."""
        return inputs(layer) == self.model.input_shape[-1] or not _behind_weights(layer)

    def readers(self, layer: Any) -> int:
        """How many layers read what this one reads."""
        (source,) = layer._inbound_nodes[0].parent_nodes
        return len(source.operation._outbound_nodes)


def inputs(layer: Any) -> int:
    """Channels that a convolution reads."""
    return int(layer.kernel.shape[2]) * int(layer.groups)


def unusual(layer: Any) -> str:
    """Why no method may replace this layer; empty when it is an ordinary dense one."""
    if layer.groups != 1:
        return f"it has {layer.groups} groups already"
    return "" if len(layer._inbound_nodes) == 1 else "the network calls it more than once"


def _behind_weights(layer: Any) -> bool:
    waiting = [node.operation for node in layer._inbound_nodes[0].parent_nodes]
    while waiting:
        each = waiting.pop()
        if each.weights:
            return True
        waiting += [node.operation for inner in each._inbound_nodes for node in inner.parent_nodes]
    return False
