"""The trained network as files: `model.safetensors` and `model.json`, which together are enough to build it again."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from app.contract.events import ArtifactFile
from app.contract.faults import Point, reach
from app.contract.work import RunOrder
from worker.training import architecture
from worker.training.artifact_files import described, write
from worker.training.card import (
    BASELINE,
    DTYPES,
    MODEL,
    PROBE_OUTPUTS,
    BrokenModel,
    ModelCard,
    Probe,
    Scaling,
    Weights,
    load_weights,
    read_card,
)

__all__ = [
    "BASELINE", "MODEL", "BrokenModel", "ModelCard", "Scaling", "card_of", "described", "export", "probe", "rebuild",
    "write",
]  # fmt: skip


def card_of(
    model: nn.Module, order: RunOrder, classes: Sequence[str], normalization: Scaling, dataset_sha256: str | None
) -> ModelCard:
    """The card of a network that `build_model` built, and `compress` may have changed; no weights are read."""
    described = architecture.of(model)
    dtype = next(model.parameters()).dtype
    return ModelCard(
        architecture=described,
        classes=tuple(classes),
        channels=described.channels,
        image_size=order.spec.image_size,
        normalization=normalization,
        dtype="float64" if dtype == torch.float64 else "float32",
        job=order.job,
        dataset_sha256=dataset_sha256,
    )


def export(model: nn.Module, card: ModelCard, folder: Path, stem: str = MODEL) -> list[ArtifactFile]:
    """Write `<stem>.safetensors`, then `<stem>.json`, each complete or not at all. `model` comes back unchanged.

    `folder` lies directly under the attempt's folder; paths in the answer are relative to the latter.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = safetensors.torch.save(tensors_of(model), metadata={"format": "pt"})
    weights = Weights(size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    filled = card.model_copy(update={"weights": weights, "probe": Probe(outputs=probe(model, card))})
    text = filled.model_dump_json(indent=2).encode()
    weights_file = write(folder / f"{stem}.safetensors", data, "application/octet-stream")
    reach(Point.WEIGHTS_BEFORE_CARD)
    return [weights_file, write(folder / f"{stem}.json", text, "application/json")]


def rebuild(folder: Path, stem: str = MODEL) -> tuple[nn.Module, ModelCard]:
    """The network of an export, on the CPU and in evaluation mode, and its card. Needs no service and no job.

    Its outputs equal those of the network that was exported, bit for bit on the same machine and memory format.
    Raises `BrokenModel`, whatever is wrong with the files.
    """
    card = read_card(folder, stem)
    try:
        model = architecture.assemble(card.architecture)
    except Exception as error:  # the card may name layers or sizes that the network does not have
        raise BrokenModel(f"{stem}.json describes no network: {type(error).__name__}: {error}.") from error
    model.to(DTYPES[card.dtype])
    load_weights(model, card, folder, stem)
    return model.eval(), card


@torch.no_grad()
def probe(model: nn.Module, card: ModelCard) -> tuple[float, ...]:
    """What the network answers to the probe image (see `Probe`), in its own precision and on its own device."""
    weight = next(model.parameters())
    height, width = card.image_size
    image_1CHW = torch.arange(card.channels * height * width, dtype=torch.float64).sin()
    image_1CHW = image_1CHW.reshape(1, card.channels, height, width).to(weight)
    was_training = model.training
    outputs = model.eval()(image_1CHW)
    model.train(was_training)
    return tuple(outputs[0, :PROBE_OUTPUTS].double().tolist())


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers as safetensors wants them: dense, and no two in the same memory."""
    tensors: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in model.state_dict().items():
        flat = tensor.detach().cpu().contiguous()
        tensors[name] = flat.clone() if flat.data_ptr() in seen else flat
        seen.add(flat.data_ptr())
    return tensors
