"""Steps of training and of inference, dense and depthwise separable, on the processor, in turns."""

import statistics
import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.compression.counts import SIZE, WAYS, network
from worker.training.allocation import keep_freed_memory
from worker.training.cost import network_cost

THREADS = 2


def measure(rounds: int, batch: int) -> dict[str, Any]:
    """Median seconds of each way, and how many times as fast as dense each is."""
    torch.set_num_threads(THREADS)
    keep_freed_memory()  # as the processes that train do
    torch.manual_seed(0)
    images = torch.randn(batch, 3, *SIZE).to(memory_format=torch.channels_last)
    networks = {name: network(ways).to(memory_format=torch.channels_last) for name, ways in WAYS.items()}  # type: ignore[call-overload]
    times = _interleaved(networks, images, rounds)
    found: dict[str, Any] = {"batch": batch, "threads": THREADS, "seconds": times}
    split = "depthwise separable"
    for kind in ("training", "inference"):
        found[kind] = round(times[f"{kind}: dense"] / times[f"{kind}: {split}"], 2)
    costs = {name: network_cost(each, 3, SIZE).parameters for name, each in networks.items()}
    found["parameters"] = round(costs["dense"] / costs[split], 2)
    return found


def _interleaved(networks: dict[str, nn.Module], images: Tensor, rounds: int) -> dict[str, float]:
    times: dict[str, list[float]] = {f"{kind}: {name}": [] for kind in ("training", "inference") for name in networks}
    for number in range(rounds + 1):
        for name, each in networks.items():
            for kind, step in (("training", _train), ("inference", _infer)):
                begun_s = time.perf_counter()
                step(each, images)
                if number:  # a first round does not count
                    times[f"{kind}: {name}"].append(time.perf_counter() - begun_s)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, value in medians.items():
        print(f"  {name:<44} {value * 1000:8.1f} ms")
    return medians


def _train(network: nn.Module, images: Tensor) -> None:
    network.train().zero_grad(set_to_none=True)
    F.cross_entropy(network(images), torch.arange(len(images))).backward()
    with torch.no_grad():
        for weight in network.parameters():
            weight.sub_(weight.grad, alpha=1e-3)  # type: ignore[arg-type]


@torch.no_grad()
def _infer(network: nn.Module, images: Tensor) -> None:
    network.eval()(images)
