"""A network as data: what must be known to build it again. Kept in model.json, beside the weights."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from torch import nn

from app.contract.compression import Compression
from app.contract.models import timm_names
from worker.training import plugins
from worker.training.libraries import timm


def _in_the_pinned_timm(name: str) -> str:
    if name not in timm_names():
        raise ValueError(f"timm {timm.__version__} has no model '{name}'")
    return name


Sizes = Mapping[str, tuple[int, ...]]
"""By layer."""


class Applied(BaseModel):
    """A compression method as it was applied: to these layers, named as the network named them at that moment."""

    model_config = ConfigDict(frozen=True)

    method: Compression
    layers: tuple[str, ...]
    sizes: dict[str, tuple[int, ...]] = Field({}, description="Of layers, what only their weights could tell: ranks.")


class Architecture(BaseModel):
    """A timm network with its constructor arguments, and what compression made of it, in order."""

    model_config = ConfigDict(frozen=True)

    name: Annotated[str, AfterValidator(_in_the_pinned_timm)] = Field(description="The network's name in timm.")
    channels: int = Field(ge=1, le=3)
    outputs: int = Field(ge=1, le=1_000_000, description="Number of classes.")
    image_size: tuple[int, int] | None = Field(None, description="[height, width] of a network that fixes it.")
    compression: tuple[Applied, ...] = ()

    def uncompressed(self) -> "Architecture":
        """The network as timm has it."""
        return self.model_copy(update={"compression": ()})


def of(model: nn.Module) -> Architecture:
    """What a network is: every network that `assemble` made, and `compress` may have changed since, carries it."""
    described: Architecture = model.trainyard_architecture  # type: ignore[assignment]
    return described


def assemble(architecture: Architecture) -> nn.Module:
    """Build the network, with whatever weights the current random state and device give it.

    Raises what timm raises when the network cannot be built so, and `KeyError` when a compressed layer is not there.
    """
    model = create(architecture)
    model.trainyard_architecture = architecture.uncompressed()  # type: ignore[assignment]
    for applied in architecture.compression:
        apply_again(model, applied)
    return model


def apply_again(model: nn.Module, applied: Applied) -> None:
    """Give a network the form that a method once gave one like it, whatever their weights."""
    plugins.build("compression", applied.method).rebuild(model, applied.layers, applied.sizes)
    note(model, applied)


def create(architecture: Architecture, **options: Any) -> nn.Module:
    """The uncompressed network; `options` go to timm."""
    arguments: dict[str, Any] = {"num_classes": architecture.outputs, "in_chans": architecture.channels}
    if architecture.image_size is not None:
        arguments["img_size"] = architecture.image_size
    model: nn.Module = timm.create_model(architecture.name, **arguments, **options)
    return model


def note(model: nn.Module, applied: Applied) -> None:
    """Add what was just done to a network to what it is."""
    described = of(model)
    steps = (*described.compression, applied)
    model.trainyard_architecture = described.model_copy(update={"compression": steps})  # type: ignore[assignment]


@contextmanager
def seeded(seed: int, stream: str) -> Iterator[None]:
    """Inside, random weights are a function of (seed, stream) alone; outside, no generator notices. CPU only.

    Not `torch.manual_seed`: it would also seed the GPUs' generators, now or when they are first used.
    """
    generator = torch.default_generator
    before = generator.get_state(), np.random.get_state(), random.getstate()
    drawn = np.random.SeedSequence([seed, *stream.encode()]).generate_state(2)
    generator.manual_seed(int(drawn[0]))
    np.random.seed(int(drawn[1]))
    random.seed(int(drawn[1]))
    try:
        yield
    finally:
        generator.set_state(before[0])
        np.random.set_state(before[1])
        random.setstate(before[2])
