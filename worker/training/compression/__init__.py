"""Compression: transformations of a network that make it smaller, applied in the order of the spec, each reported.

To add a kind: a class in app/contract/compression.py, a file of the same name here with `build(spec) -> Method`, and
tests/worker/training/compression/test_<kind>.py. What kinds share lies in `_<name>.py` files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import nn

from app.contract.compression import Compression
from app.contract.plan import LayerChange
from worker.training import plugins, shapes
from worker.training.architecture import convert, seeded
from worker.training.compression._flow import Flow, observe
from worker.training.errors import bad_spec


@dataclass(frozen=True)
class Scene:
    """What a method may know when it chooses."""

    pointer: str
    """JSON Pointer of the method in the spec, for refusals."""
    channels: int
    """Of the images."""
    flow: Flow


class Method(Protocol):
    """A compression method."""

    def choose(self, layers: Mapping[str, nn.Conv2d], scene: Scene) -> dict[str, str]:
        """For each convolution of the network, why it stays as it is; empty for those that shall be converted.

        Raises `bad_spec` for a choice that the spec asks for by name and that is not possible.
        """

    def convert(self, layer: nn.Module) -> nn.Module:
        """What takes the layer's place: same input and output shape, on the same device, in the same precision."""


def compress(
    model: nn.Module, methods: Sequence[Compression], image_size: Sequence[int], channels: int, seed: int = 0
) -> list[LayerChange]:
    """Apply the methods to `model`, in place and in order, and say what became of each convolution.

    New random weights are a function of `seed` (the job's): the same in every rank. Raises `bad_spec` at
    `/compression/<i>` when a method fits no layer of this network, or the network does not run any more.
    """
    changes: list[LayerChange] = []
    for index, method in enumerate(methods):
        with seeded(seed, f"compression/{index}"):
            changes += _apply(model, method, f"/compression/{index}", image_size, channels)
    return changes


def _apply(
    model: nn.Module, method: Compression, pointer: str, image_size: Sequence[int], channels: int
) -> list[LayerChange]:
    layers = {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    scene = Scene(pointer, channels, observe(model, image_size, channels))
    reasons = plugins.build("compression", method).choose(layers, scene)
    chosen = [name for name in layers if not reasons[name]]
    if not chosen:
        raise bad_spec(pointer, _nothing_to_do(method.kind, reasons), "no_layer_fits")
    convert(model, method, chosen)
    _refuse_if_broken(model, method.kind, pointer, image_size, channels)
    return [_change(model, method.kind, name, layers[name], reasons[name]) for name in layers]


def _nothing_to_do(kind: str, reasons: Mapping[str, str]) -> str:
    counts: dict[str, int] = {}
    for reason in reasons.values():
        counts[reason] = counts.get(reason, 0) + 1
    found = "; ".join(f"{count} kept: {reason}" for reason, count in sorted(counts.items(), key=lambda item: -item[1]))
    found = found[:800] or "it has no convolutions"
    return f"{kind} fits no layer of this network ({found}): remove it, or change the model."


def _refuse_if_broken(model: nn.Module, kind: str, pointer: str, image_size: Sequence[int], channels: int) -> None:
    """Some networks read their convolutions' weights instead of calling them."""
    training = model.training
    try:
        shapes.forward(model.eval(), channels, image_size)
    except Exception as error:
        detail = (
            f"The network does not run after {kind} ({type(error).__name__}: {error}): remove it, or exclude layers."
        )
        raise bad_spec(pointer, detail[:1000], "breaks_network") from error
    finally:
        model.train(training)


def _change(model: nn.Module, kind: str, name: str, before: nn.Module, reason: str) -> LayerChange:
    return LayerChange(
        name=name,
        method=kind,
        status="kept" if reason else "changed",
        reason=reason,
        parameters_before=_parameters(before),
        parameters_after=_parameters(model.get_submodule(name)),
    )


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
