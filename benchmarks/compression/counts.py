"""Parameters and multiply-accumulates beside the published tables. Every layer counts."""

from typing import Any

import torch
from torch import nn

from app.contract.compression import ActivationCompression, Compression, DepthwiseSeparable
from worker.training.architecture import Architecture, assemble
from worker.training.compressing import compress
from worker.training.cost import network_cost

SIZE = (224, 224)
WAYS: dict[str, tuple[Compression, ...]] = {
    "dense": (),
    "depthwise separable": (DepthwiseSeparable(),),
    "activation compression, ratio 2": (ActivationCompression(ratio=2),),
}
PUBLISHED = {
    "ResNet-18 dense: parameters": ("dense", "parameters", 11.69e6, 0.005),
    "ResNet-18 dense: MACs": ("dense", "macs", 1.82e9, 0.01),
    "ResNet-18 depthwise separable: parameters": ("depthwise separable", "parameters", 1.96e6, 0.005),
    "ResNet-18 depthwise separable: MACs": ("depthwise separable", "macs", 0.34e9, 0.02),
}
"""The way, what is counted, the figure for 1,000 classes, and its last digit as a share of it. MobileNet's tables are
held in tests/numerics/test_compression.py: timm's network is not the one of the paper."""


def network(ways: tuple[Compression, ...] = (), device: str = "cpu") -> nn.Module:
    """ResNet-18 for 1,000 classes, as the methods leave it."""
    with torch.device(device):
        made = assemble(Architecture(name="resnet18", channels=3, outputs=1000))
    compress(made, ways, SIZE, 3)
    return made


def measure() -> dict[str, Any]:
    """How far each count is from its figure, as a share of it."""
    counted = {name: network_cost(network(ways, "meta"), 3, SIZE) for name, ways in WAYS.items()}
    found = {}
    for name, (way, what, published, allowed) in PUBLISHED.items():
        count = getattr(counted[way], what)
        off = round(abs(count - published) / published, 4)
        found[name] = {"count": count, "published": published, "off": off, "allowed": allowed}
        print(f"  {name:<44} {count:>14,}  published {published:,.0f}")
    return found
