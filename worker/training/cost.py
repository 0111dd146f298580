"""What a network costs: parameters, multiply-accumulates, bytes, and the memory that training it takes."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from app.contract.plan import NetworkCost
from app.contract.training import Training
from worker.training import shapes
from worker.training.alive import kept_for_backward, kept_inside, largest_step
from worker.training.attached import Methods
from worker.training.blocks import most_gathered
from worker.training.moments import moments

FP32_BYTES, HALF_BYTES = 4, 2
COMPUTE_SHARE = {"fp64": 2.0, "fp32": 1.0, "auto": 1.0, "bf16": 0.5, "fp16": 0.5}
"""Bytes of a saved activation, relative to fp32; `auto` on a GPU is bf16."""


@dataclass(frozen=True)
class Share:
    """What one process has of a step."""

    images: int
    processes: int = 1
    halved: bool = False  # precision `auto` will be bf16
    moments: float = 1.0  # share of the optimizer's that it keeps
    exchanged: int = 0  # copies of the gradients that it keeps for their exchange, beside DDP's buckets
    gathers: Literal["", "blocks", "everything"] = ""  # of weights that processes divide, what is whole at a time


def network_cost(model: nn.Module, channels: int, image_size: Sequence[int]) -> NetworkCost:
    """Parameters, MACs of one image and bytes of a network. Takes milliseconds: nothing is computed.

    MACs are those of convolutions, matrix products and attention, as papers count them; additions, normalisation and
    activations are not in them.
    """
    tensors = [*model.parameters(), *model.buffers()]
    return NetworkCost(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        macs=count_macs(model, channels, image_size),
        weights_bytes=sum(tensor.numel() * _stored_bytes(tensor) for tensor in tensors),
    )


def count_macs(model: nn.Module, channels: int, image_size: Sequence[int]) -> int:
    """Multiply-accumulates of one forward pass of one image in evaluation mode."""
    return count_macs_of(model, (), channels, image_size).whole


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates of one forward pass of one image."""

    whole: int
    by_layer: Counter[str]
    """Of the layers that were asked about, with all that is inside them, in all their calls."""


def count_macs_of(model: nn.Module, layers: Iterable[str], channels: int, image_size: Sequence[int]) -> Macs:
    """Those of the network and of some of its modules, by name, found in one pass in evaluation mode."""
    was_training = model.training
    model.eval()
    products = _Products()
    try:
        with torch.no_grad(), _told_of(model, layers, products), products:
            shapes.forward(model, channels, image_size)
    finally:
        model.train(was_training)
    by_layer = Counter({name: flops // 2 for name, flops in products.by_layer.items()})
    return Macs(products.flops // 2, by_layer)


@contextmanager
def _told_of(model: nn.Module, layers: Iterable[str], products: "_Products") -> Iterator[None]:
    """While it lasts, `products` knows inside which of the layers it is."""

    def leave(*_: Any) -> None:
        products.inside.pop()

    handles = []
    for name in layers:
        module = model.get_submodule(name)
        handles.append(module.register_forward_pre_hook(partial(products.enter, name)))
        handles.append(module.register_forward_hook(leave, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def training_memory_bytes(
    model: nn.Module,
    training: Training,
    channels: int,
    image_size: Sequence[int],
    share: Share,
    methods: Methods | None = None,
) -> int:
    """Estimated peak of one process in training, without what torch itself occupies.

    Weights, their average, gradients and the optimizer's moments in fp32 (fp64 if so trained): see `_of_weights`;
    what autograd keeps for the backward pass is measured on 2 images, of which each tensor counts once, and scaled to
    the batch; then the largest activation again, for its gradient; and the images. Caches, workspaces of the
    kernels and fragmentation are not in it.

    `methods` are those attached to `model`: what autograd keeps is then what they leave of it, and what they compute
    or unpack again in the backward pass is added. They are detached here.
    """
    scale = _compute_share(training, share)
    weight_bytes = 2 * FP32_BYTES if training.precision == "fp64" else FP32_BYTES
    weights = _of_weights(model, training, share, weight_bytes)
    kept = kept_for_backward(model, channels, image_size)
    passing = (1 + methods.unpacked) * kept.largest * scale if methods else kept.largest * scale
    blocks = methods.blocks if methods else []
    if methods:
        methods.detach()
    again = kept_inside(model, blocks, channels, image_size).bytes(scale) if blocks else 0.0
    images = channels * image_size[0] * image_size[1] * weight_bytes
    return int(weights + (kept.bytes(scale) + passing + again + images) * share.images)


def _of_weights(model: nn.Module, training: Training, share: Share, each_bytes: int) -> float:
    """Weights and all that there is one of for each. DDP's buckets hold the gradients again, and so may memory that the

    processes share. Where they divide the weights: its rows of all, what is gathered at a time, and what autocast keeps
    in 16 bits for the backward pass.
    """
    weights = sum(parameter.numel() for parameter in model.parameters())
    copies = 2 + moments(training) * share.moments + (training.ema is not None)
    if not share.gathers:
        return each_bytes * weights * (copies + (share.processes > 1) + share.exchanged)
    whole = each_bytes * most_gathered(model, let_go=share.gathers == "blocks")
    halved = HALF_BYTES * weights if _compute_share(training, share) < 1 else 0
    return each_bytes * weights * copies / share.processes + whole + halved


def inference_memory_bytes(
    model: nn.Module, training: Training, channels: int, image_size: Sequence[int], share: Share
) -> int:
    """What a network that only answers needs beside its weights: the most that one operation reads and writes."""
    return int(largest_step(model, channels, image_size) * _compute_share(training, share) * share.images)


def _compute_share(training: Training, share: Share) -> float:
    return 0.5 if share.halved else COMPUTE_SHARE[training.precision]


def _stored_bytes(tensor: Tensor) -> int:
    return FP32_BYTES if tensor.is_floating_point() else tensor.element_size()


class _Products(TorchDispatchMode):
    """Adds up the FLOPs of every operator that torch has a formula for: convolutions, products, attention.

    `FlopCounterMode` does the same by module, with hooks that fail on networks which call layers in unusual ways.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0
        self.by_layer: Counter[str] = Counter()
        self.inside: list[str] = []

    def enter(self, name: str, *_: Any) -> None:
        """A hook: what comes is of this module, too."""
        self.inside.append(name)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        formula: Callable[..., int] | None = flop_registry.get(func.overloadpacket)
        if formula is not None:
            flops = formula(*args, **(kwargs or {}), out_val=result)
            self.flops += flops
            for name in set(self.inside):
                self.by_layer[name] += flops
        return result
