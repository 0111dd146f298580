"""The report: what the job ships, reloaded from its files in a clean process and measured beside what it came from.

`python -m worker.training.measure ORDER.json OUT.json PIPE` is that process; PIPE, a descriptor, hears of a failure.
"""

import logging
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from torch import nn

from app.contract.events import ArtifactFile
from app.contract.models import Checkpoint
from app.contract.report import Latency, Machine, Measurement, Ratios, Report
from app.contract.training import JobBaseline
from app.contract.work import RunOrder
from worker.training import augment, causes, cost, data, earlier, gates, logs, models, normalization, timing
from worker.training.card import BASELINE, DTYPES, MODEL, ModelCard
from worker.training.events import Reporter
from worker.training.export import described, probe, rebuild, tensors_of
from worker.training.loader import Loader
from worker.training.memory import AsManyAsFit
from worker.training.normalization import Normalization

ARTIFACTS = "artifacts"
REPORT = "report.json"
EVALUATION_BATCH = 256
MOST_THREADS = 4
"""More threads than this make the latency of one image worse on many hosts, and the figure less repeatable."""
TOLERANCE = 1e-3
"""Of the outputs, relative to the largest: another memory format or device adds up in another order."""

log = logging.getLogger(__name__)


def artifacts(run_dir: Path) -> list[ArtifactFile]:
    """Everything that the run leaves to its user, in the order of names."""
    return [described(path) for path in sorted((run_dir / ARTIFACTS).iterdir()) if not path.name.startswith(".")]


def measured(order: RunOrder) -> Report:
    """The report of a finished run, measured in this process. Call it in a fresh one."""
    folder = Path(order.paths.run_dir) / ARTIFACTS
    device = torch.device("cuda", order.devices[0]) if order.device_kind == "cuda" else torch.device("cpu")
    torch.set_num_threads(min(MOST_THREADS, len(os.sched_getaffinity(0))))
    model, card = rebuild(folder)
    _place(model, device)
    baseline = _baseline(order, folder, card, device)
    latency = timing.interleaved({"before": baseline.model, "after": model}, card.channels, card.image_size)
    trained = [(model, card), *([(baseline.model, baseline.card)] if baseline.card else [])]
    accuracies = _accuracies(order, trained, device)
    after = _measurement(model, card, (folder / f"{MODEL}.safetensors").stat().st_size, latency["after"], accuracies[0])
    before = _measurement(
        baseline.model, card, baseline.file_bytes, latency["before"], accuracies[1] if baseline.card else None
    )
    report = _report(before, after, _machine(device), verified=_same_outputs(model, card))
    return report.model_copy(update={"dataset_sha256": card.dataset_sha256})


@dataclass(frozen=True)
class _Baseline:
    """The network as the spec names it."""

    model: nn.Module
    file_bytes: int
    card: ModelCard | None
    """Null when it was not trained in this job: then it has no accuracy."""


def _baseline(order: RunOrder, folder: Path, card: ModelCard, device: torch.device) -> _Baseline:
    """As it was trained in this job, or in the one to compare with; else as this job began with it: an earlier job's
    network, or initial weights.

    Only the first two have an accuracy: `baseline: none` promises that there is none before.
    """
    if isinstance(order.spec.baseline, JobBaseline):
        return _trained_baseline(earlier.folder(order), MODEL, card, device)
    if (folder / f"{BASELINE}.safetensors").exists():
        return _trained_baseline(folder, BASELINE, card, device)
    if isinstance(order.spec.model, Checkpoint) and order.paths.model:
        return replace(_trained_baseline(Path(order.paths.model), MODEL, card, device), card=None)
    model = models.build_model(order, card.classes).to(DTYPES[card.dtype]).eval()
    size = len(safetensors.torch.save(tensors_of(model), metadata={"format": "pt"}))
    return _Baseline(_place(model, device), size, None)


def _trained_baseline(folder: Path, stem: str, card: ModelCard, device: torch.device) -> _Baseline:
    model, own_card = rebuild(folder, stem)
    size = (folder / f"{stem}.safetensors").stat().st_size
    return _Baseline(_place(model.to(DTYPES[card.dtype]), device), size, own_card)


def _place(model: nn.Module, device: torch.device) -> nn.Module:
    """Where and how it would be used: as the trainer had it."""
    model.to(device)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _measurement(
    model: nn.Module, card: ModelCard, file_bytes: int, latency: list[Latency], accuracy: float | None
) -> Measurement:
    found = cost.network_cost(model, card.channels, card.image_size)
    return Measurement(
        parameters=found.parameters, macs=found.macs, file_bytes=file_bytes, latency=latency, accuracy=accuracy
    )


@torch.no_grad()
def _accuracies(order: RunOrder, networks: Sequence[tuple[nn.Module, ModelCard]], device: torch.device) -> list[float]:
    """Of each network on all validation images, normalised as its card says, in the precision of its weights."""
    images = data.load(order).validation
    loader = Loader(images, augment.compile(order.spec), threads=torch.get_num_threads())
    right = [0] * len(networks)
    fitting = AsManyAsFit()
    try:
        for images_NHWC, labels_N in loader.evaluate(_batches(len(images))):
            for index, (network, card) in enumerate(networks):
                scaling = Normalization(card.normalization.mean, card.normalization.std)
                hits = partial(_hits, network, scaling, device)
                right[index] += int(fitting.sum(hits, images_NHWC, labels_N))
    finally:
        loader.close()
    return [count / len(images) for count in right]


def _hits(
    network: nn.Module, scaling: Normalization, device: torch.device, images_NHWC: torch.Tensor, labels_N: torch.Tensor
) -> torch.Tensor:
    dtype = next(network.parameters()).dtype
    images_NCHW = normalization.apply(images_NHWC.to(device), scaling, dtype)
    return (network(images_NCHW).argmax(1).cpu() == labels_N).sum()


def _batches(images: int) -> list[npt.NDArray[np.int64]]:
    everything = np.arange(images, dtype=np.int64)
    return [everything[start : start + EVALUATION_BATCH] for start in range(0, images, EVALUATION_BATCH)]


def _same_outputs(model: nn.Module, card: ModelCard) -> bool:
    """Whether the rebuilt network answers as the trained one did when it was written."""
    if card.probe is None:
        return False
    wanted, found = torch.tensor(card.probe.outputs), torch.tensor(probe(model, card))
    if wanted.shape != found.shape:
        return False
    return bool((wanted - found).abs().max() <= TOLERANCE * wanted.abs().max().clamp(min=1e-6))


def _report(before: Measurement, after: Measurement, machine: Machine, *, verified: bool) -> Report:
    both = before.accuracy, after.accuracy
    return Report(
        before=before,
        after=after,
        ratios=Ratios(
            parameters=before.parameters / after.parameters,
            macs=before.macs / after.macs,
            file_bytes=before.file_bytes / after.file_bytes,
            latency_p50=before.latency[0].p50_s / after.latency[0].p50_s,
        ),
        accuracy_drop=None if both[0] is None or both[1] is None else both[0] - both[1],
        machine=machine,
        verified=verified,
    )


def _machine(device: torch.device) -> Machine:
    return Machine(
        host=platform.node(),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        processor=_processor(),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )


def _processor() -> str:
    """What the kernel calls it; Python's own answer is empty on Linux."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main(arguments: list[str]) -> int:
    """Write the Report, or tell the launcher, over its pipe, why there is none and exit with 1."""
    if len(arguments) != 3:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    order, out, pipe = arguments
    logs.to_stderr()
    try:
        wanted = RunOrder.model_validate_json(Path(order).read_bytes())
        report = measured(wanted)
        report = report.model_copy(update={"gates": gates.judged(report, wanted.spec)})
        Path(out).write_text(report.model_dump_json(), encoding="utf-8")
    except Exception as error:
        log.exception("There is no report")
        Reporter(int(pipe)).fail(causes.explain(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
