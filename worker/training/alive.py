"""Which tensors a forward pass leaves behind for the backward pass: watched while it runs, without arithmetic.

What is still there when the pass is over, and nobody holds the output, is what the graph holds: also where a method of
the loop keeps it in another form, or computes it again.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from worker.training import shapes

IMAGES = 2
"""Of each pass: batch normalisation cannot train on one."""


@dataclass(frozen=True)
class Kept:
    """Bytes for one image in fp32."""

    floats: float = 0.0
    others: float = 0.0
    """Masks, indices, codes: the same in any precision."""
    largest: float = 0.0
    """The largest single activation of the pass, kept or not."""

    def bytes(self, scale: float) -> float:
        """Of one image, where a float takes `scale` times 4 bytes."""
        return self.floats * scale + self.others


def kept_for_backward(model: nn.Module, channels: int, image_size: Sequence[int]) -> Kept:
    """What one forward pass in training mode leaves behind, weights apart. `model` stays as it is."""
    with _pass(model, channels, image_size) as watch:
        return watch.kept(watch.seen)


def kept_inside(model: nn.Module, blocks: Sequence[nn.Module], channels: int, image_size: Sequence[int]) -> Kept:
    """Of these blocks, what the one that leaves most behind leaves behind."""
    spans: list[tuple[int, int]] = []
    begun: list[int] = []
    watching: list[_Watch] = []
    handles = [block.register_forward_pre_hook(lambda *_: begun.append(len(watching[0].seen))) for block in blocks]
    handles += [
        block.register_forward_hook(lambda *_: spans.append((begun.pop(), len(watching[0].seen)))) for block in blocks
    ]
    try:
        with _pass(model, channels, image_size, watching.append) as watch:
            found = [watch.kept(watch.seen[first:last]) for first, last in spans]
    finally:
        for handle in handles:
            handle.remove()
    return max(found, key=lambda each: each.bytes(1.0), default=Kept())


def largest_step(model: nn.Module, channels: int, image_size: Sequence[int]) -> float:
    """Bytes for one image in fp32 of the operation that reads and writes most, in evaluation without gradients."""
    watch = _Watch()
    handle = model.register_forward_pre_hook(lambda _, args: watch.begin(args[0]))
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), watch:
            shapes.forward(model, channels, image_size, IMAGES)
    finally:
        model.train(was_training)
        handle.remove()
    return watch.busiest / IMAGES


@contextmanager
def _pass(
    model: nn.Module, channels: int, image_size: Sequence[int], told: Callable[["_Watch"], None] = lambda _: None
) -> Iterator["_Watch"]:
    watch = _Watch()
    told(watch)
    handle = model.register_forward_pre_hook(lambda _, args: watch.begin(args[0]))
    was_training = model.training
    model.train()
    try:
        with torch.enable_grad(), watch:
            graph = shapes.forward(model, channels, image_size, IMAGES).grad_fn
        yield watch
        del graph
    finally:
        model.train(was_training)
        handle.remove()


@dataclass
class _Seen:
    """A piece of memory that was allocated in the pass."""

    still: StorageWeakRef
    size_bytes: int
    floating: bool


class _Watch(TorchDispatchMode):
    """Notes what the operations of a network allocate; its weights, made before, are not among it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[_Seen] = []
        self.busiest = 0
        self._known: set[int] = set()
        self._begun = False

    def begin(self, image: Tensor) -> None:
        """The network is given its images."""
        self._begun = True
        self._note(image)

    def kept(self, seen: Sequence[_Seen]) -> Kept:
        """Of what was seen, what is still there."""
        left = [each for each in seen if not each.still.expired()]
        floats = sum(each.size_bytes for each in left if each.floating)
        others = sum(each.size_bytes for each in left if not each.floating)
        largest = max((each.size_bytes for each in self.seen if each.floating), default=0)
        return Kept(floats / IMAGES, others / IMAGES, largest / IMAGES)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self._begun:
            read = {_memory(each): each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)}
            made = {_memory(each): each for each in tree_leaves(result) if isinstance(each, Tensor)}
            for key in made.keys() - read.keys():
                self._note(made[key])
            mine = [each for key, each in (read | made).items() if key in self._known]
            self.busiest = max(self.busiest, sum(each.untyped_storage().nbytes() for each in mine))
        return result

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        self.seen.append(_Seen(StorageWeakRef(storage), storage.nbytes(), tensor.is_floating_point()))
        self._known.add(storage._cdata)


def _memory(tensor: Tensor) -> int:
    """Which memory it lies in. Not given to another while its `StorageWeakRef` is held."""
    return tensor.untyped_storage()._cdata
