"""An architecture of the timm library, with random weights or with a pretrained file that lies on the worker."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from torch import nn

from app.contract.models import Timm
from app.contract.work import RunOrder
from worker.training.architecture import Architecture, create, seeded
from worker.training.errors import bad_spec
from worker.training.libraries import timm

POINTER = "/model/pretrained"


def build(spec: Timm) -> "TimmModel":
    """See ModelKind."""
    return TimmModel(spec)


@dataclass(frozen=True)
class TimmModel:
    spec: Timm

    def architecture(self, order: RunOrder, classes: Sequence[str]) -> Architecture:
        """Networks that fix their input size (vision transformers) are built for the spec's."""
        if self.spec.pretrained:
            find_weights(self.spec.name, order.paths.weights)
        config = timm.get_pretrained_cfg(self.spec.name)
        fixed = config is not None and config.fixed_input_size
        return Architecture(
            name=self.spec.name,
            channels=self.spec.channels,
            outputs=len(classes),
            image_size=order.spec.image_size if fixed else None,
        )

    def starts_from_weights(self) -> bool:
        return self.spec.pretrained

    def load(self, model: nn.Module, order: RunOrder, classes: Sequence[str]) -> None:
        """timm's own loading: it converts old key names, drops a classifier of other classes, adapts the first layer.

        The network is drawn again from the same random state, so what is still equal afterwards was not in the file.
        """
        if not self.spec.pretrained:
            return
        path = find_weights(self.spec.name, order.paths.weights)
        with seeded(order.spec.training.seed, "model"):
            loaded = _loaded(self.architecture(order, classes), path)
        _refuse_untouched(model, loaded, path)
        _refuse_spoilt(loaded, path)
        model.load_state_dict(loaded.state_dict())


def find_weights(name: str, folder: str | None) -> Path:
    """The file `<name>.safetensors` in the weights folder, or the one in Hugging Face's local cache.

    Nothing is downloaded. Raises `bad_spec` that says where to put the file.
    """
    config = timm.get_pretrained_cfg(name)
    names = dict.fromkeys([name, _full_name(name)])
    candidates = [Path(folder) / f"{each}.safetensors" for each in names] if folder else []
    for path in candidates:
        if path.is_file():
            return path
    cached = config is not None and config.hf_hub_id and try_to_load_from_cache(config.hf_hub_id, "model.safetensors")
    if isinstance(cached, str):
        return Path(cached)
    where = f"put them at {candidates[0]}" if candidates else "the worker has no weights folder"
    raise bad_spec(POINTER, f"There are no pretrained weights of {name} on the worker: {where}.", "weights_missing")


def _full_name(name: str) -> str:
    """The name with the tag that timm takes when none is given: `resnet18` is `resnet18.a1_in1k`."""
    config = timm.get_pretrained_cfg(name)
    tag = config.tag if config else None
    return f"{name}.{tag}" if tag and "." not in name else name


def _loaded(architecture: Architecture, path: Path) -> nn.Module:
    try:
        return create(architecture, pretrained=True, pretrained_cfg_overlay={"file": str(path)})
    except Exception as error:  # safetensors, torch and timm have no type of error in common
        detail = f"The weights in {path.name} cannot be loaded ({type(error).__name__}: {error}): replace the file."
        raise bad_spec(POINTER, detail[:1000], "weights_broken") from error


def _refuse_untouched(drawn: nn.Module, loaded: nn.Module, path: Path) -> None:
    """With other classes timm loads leniently: a file of another network would be accepted and change nothing."""
    fresh = _fresh_parameters(loaded)
    before = dict(drawn.named_parameters())
    missing = [
        name
        for name, after in loaded.named_parameters()
        if after.ndim > 1 and id(after) not in fresh and torch.equal(after, before[name])
    ]
    if missing:
        detail = f"The weights in {path.name} lack {missing[0]} and {len(missing) - 1} more: use this network's file."
        raise bad_spec(POINTER, detail, "weights_broken")


def _refuse_spoilt(loaded: nn.Module, path: Path) -> None:
    for name, tensor in loaded.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            detail = f"The weights in {path.name} hold values that are not finite, in {name}: replace the file."
            raise bad_spec(POINTER, detail, "weights_broken")


def _fresh_parameters(model: nn.Module) -> set[int]:
    """Those of the classifier, which is drawn anew for other classes."""
    heads: Any = model.get_classifier()  # type: ignore[operator]
    heads = heads if isinstance(heads, tuple) else (heads,)
    return {id(each) for head in heads if isinstance(head, nn.Module) for each in head.parameters()}
