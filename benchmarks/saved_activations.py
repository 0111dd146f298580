"""What does it cost to keep activations in 8, 4 or 2 bits, or to compute them again, and what does it save?

ResNet-18 at 224 on 2 threads, channels last, random images. Steps are interleaved: a round makes one step of each way.
Kept bytes are those of one image; the error is that of the gradients of all weights together, with nearest
rounding and, for comparison, with stochastic rounding.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.contract.compression import Checkpointing, Compression, SavedActivations
from app.contract.job import JobSpec
from app.contract.work import Paths, RunOrder
from benchmarks import record
from benchmarks.pipelines.tables import Target
from worker.training.alive import kept_for_backward
from worker.training.allocation import keep_freed_memory
from worker.training.architecture import Architecture, assemble, seeded
from worker.training.attached import Course
from worker.training.card import Scaling
from worker.training.compressing import attach
from worker.training.compression import _groups
from worker.training.precision import Precision

SIZE = (224, 224)
WAYS: dict[str, list[Compression]] = {
    "plain": [],
    "8 bits": [SavedActivations(bits=8)],
    "4 bits": [SavedActivations(bits=4)],
    "2 bits": [SavedActivations(bits=2)],
    "checkpointing": [Checkpointing()],
}


def main() -> None:
    """Print a table and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, default=16)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    keep_freed_memory()  # as the processes that train do
    network = build().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.manual_seed(0)
    images = torch.randn(arguments.batch, 3, *SIZE).to(memory_format=torch.channels_last)
    times = interleaved(network, images, arguments.rounds)
    found = {name: figures(network, name, images, times[name]) for name in WAYS}
    for name, row in found.items():
        row["step_ratio"] = statistics.median(a / b for a, b in zip(times[name], times["plain"], strict=True))
        print(f"{name:<14}", "  ".join(f"{key} {value:.4g}" for key, value in row.items()))
    lines = ["| question | answer | target | |", "|---|---|---|---|", *(each.row() for each in targets(found))]
    path = record.write("saved_activations", {"batch": arguments.batch, "threads": 2, "ways": found})
    path.with_suffix(".md").write_text("\n".join(["# Saved activations", "", *lines]) + "\n")
    print(*lines, path, sep="\n")


def targets(found: dict[str, Any]) -> Iterator[Target]:
    """8 bits: memory, error and time; 4 bits: memory."""
    eight, four = found["8 bits"], found["4 bits"]
    yield Target("8 bits: kept memory", round(eight["kept_ratio"], 2), 3.0, "times less")
    yield Target("8 bits: error of the gradients", round(100 * eight["error"], 3), 1.0, "%", least=False)
    yield Target("8 bits: step", round(eight["step_ratio"], 3), 1.15, "times the plain one", least=False)
    yield Target("4 bits: kept memory", round(four["kept_ratio"], 2), 4.5, "times less")


def build(device: str = "cpu") -> nn.Module:
    """With random weights, in training."""
    with seeded(0, "resnet18"), torch.device(device):
        return assemble(Architecture(name="resnet18", channels=3, outputs=10)).train()


def course() -> Course:
    """Of a job that is not there."""
    spec = JobSpec.model_validate(JobSpec.examples[0])
    order = RunOrder(spec=spec, paths=Paths(run_dir=""))
    scaling = Scaling(mean=(0.0,) * 3, std=(1.0,) * 3)
    return Course(order, [], scaling, Precision("cpu"), torch.device("cpu"), lambda values: values)


def interleaved(network: nn.Module, images: Tensor, rounds: int) -> dict[str, list[float]]:
    """Seconds of each step; a first round does not count."""
    times: dict[str, list[float]] = {name: [] for name in WAYS}
    for number in range(rounds + 1):
        for name, methods in WAYS.items():
            attached = attach(network, methods, SIZE, 3, course())
            began_s = time.perf_counter()
            gradients(network, images)
            if number:
                times[name].append(time.perf_counter() - began_s)
            attached.detach()
    return times


def gradients(network: nn.Module, images: Tensor) -> Tensor:
    """Of all weights, as one vector."""
    network.zero_grad(set_to_none=True)
    F.cross_entropy(network(images), torch.arange(len(images)) % 10).backward()
    return torch.cat([each.grad.flatten() for each in network.parameters() if each.grad is not None]).double()


def figures(network: nn.Module, name: str, images: Tensor, times: list[float]) -> dict[str, Any]:
    """Step, bytes and errors of one way."""
    wanted = gradients(network, images)
    attached = attach(network, WAYS[name], SIZE, 3, course())
    row = {"step_s": statistics.median(times), "error": error(gradients(network, images), wanted)}
    if "bits" in name:
        row |= {"error_stochastic": with_rounding(stochastic, lambda: error(gradients(network, images), wanted))}
    attached.detach()
    sketch = build("meta")
    plain = kept_for_backward(sketch, 3, SIZE).bytes(1.0)
    attached = attach(sketch, WAYS[name], SIZE, 3, course())
    kept = kept_for_backward(sketch, 3, SIZE).bytes(1.0)
    attached.detach()
    return row | {"kept_bytes": kept, "kept_ratio": plain / kept}


def error(found: Tensor, wanted: Tensor) -> float:
    """Relative, of the whole vector."""
    return float((found - wanted).norm() / wanted.norm())


def with_rounding(codes: Callable[..., Any], measure: Callable[[], float]) -> float:
    """With other codes than those of the CPU's kernels."""
    kept = _groups._cpu_codes, _groups._cpu_values
    _groups._cpu_codes, _groups._cpu_values = codes, lambda values_GV, _: values_GV  # type: ignore[assignment]
    try:
        return measure()
    finally:
        _groups._cpu_codes, _groups._cpu_values = kept


def stochastic(rows_GV: Tensor, bits: int) -> tuple[Tensor, None]:
    """The values that would be read back, with each rounded up as often as it lies near the upper step."""
    least_G1, most_G1 = (each[:, None] for each in rows_GV.aminmax(dim=1))
    step_G1 = ((most_G1 - least_G1) / (2**bits - 1)).clamp(min=1e-30)
    return ((rows_GV - least_G1) / step_G1 + torch.rand_like(rows_GV)).floor() * step_G1 + least_G1, None


if __name__ == "__main__":
    main()
