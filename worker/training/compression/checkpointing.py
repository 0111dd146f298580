"""A block's activations are dropped and computed again in the backward pass (arXiv 1604.06174).

The blocks are those of the network's stages: what stands in a list or a row of its own kind of module. What lies around
them (the stem, pooling, the classifier) keeps what it kept.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from app.contract.compression import Checkpointing
from worker.training.attached import Attached, Course, Forward, Forwards
from worker.training.compression import Choice, Scene
from worker.training.compression._layers import EXCLUDED, excluded

ROWS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def build(spec: Checkpointing) -> "Blocks":
    """See LoopMethod."""
    return Blocks(spec)


@dataclass(frozen=True)
class Blocks:
    spec: Checkpointing

    def choose(self, model: nn.Module, scene: Scene) -> Choice:
        blocks = blocks_of(model)
        unwanted = excluded(self.spec.exclude, blocks, scene, "block")
        return Choice({name: EXCLUDED if name in unwanted else "" for name in blocks})

    def attach(self, model: nn.Module, layers: Sequence[str], course: Course) -> Attached:
        return Checkpointed([model.get_submodule(name) for name in layers])


def blocks_of(model: nn.Module) -> dict[str, nn.Module]:
    """The smallest modules of several layers that stand in a row with others, by name."""
    return dict(_blocks("", model))


def _blocks(prefix: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        if _holds_a_row(child) or isinstance(child, ROWS):
            yield from _blocks(f"{path}.", child)
        elif _has_layers(child) and isinstance(module, ROWS):
            yield path, child


def _holds_a_row(module: nn.Module) -> bool:
    """Whether blocks stand in a row somewhere inside it."""
    return any(
        isinstance(each, ROWS) and sum(_has_layers(child) for child in each.children()) > 1 for each in module.modules()
    )


def _has_layers(module: nn.Module) -> bool:
    """Whether it is made of several layers with weights."""
    return sum(bool(each._parameters) for each in module.modules()) > 1


class Checkpointed(Attached):
    """Blocks that are computed twice."""

    def __init__(self, blocks: list[nn.Module]) -> None:
        self._blocks = blocks
        self._forwards = Forwards()
        for block in blocks:
            self._forwards.replace(block, partial(_twice, block))

    @property
    def blocks(self) -> list[nn.Module]:
        return self._blocks

    def detach(self) -> None:
        self._forwards.restore()


def _twice(block: nn.Module, forward: Forward) -> Forward:
    def run(*args: Any, **kwargs: Any) -> Any:
        if not (block.training and torch.is_grad_enabled()):
            return forward(*args, **kwargs)
        contexts = partial(_contexts, block)
        return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)

    return run


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    """Of the first time, and of the second, which must not count into running statistics again."""
    return nullcontext(), _buffers_kept(block)


@contextmanager
def _buffers_kept(block: nn.Module) -> Iterator[None]:
    """Inside, the block's buffers are copies that are thrown away."""
    owned = [(module, name, buffer) for module in block.modules() for name, buffer in module._buffers.items()]
    for module, name, buffer in owned:
        module._buffers[name] = None if buffer is None else buffer.clone()
    try:
        yield
    finally:
        for module, name, buffer in owned:
            module._buffers[name] = buffer
