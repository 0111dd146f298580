"""How long networks take, measured side by side: all meet the same machine at the same moment."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from app.contract.report import Latency, Runtime
from worker.training.memory import ran_out
from worker.training.onnx_network import OnnxNetwork

FEWEST_RUNS, MOST_RUNS = 30, 200
WARM_UP = 5
BUDGET_S = {1: 0.6, 32: 1.0}
"""Seconds for each network, by batch size, after which the fewest runs are enough. Batch 1 takes them whatever they
take."""
PATIENCE_S = 1.5
"""For each network: of a larger batch whose fewest runs would take longer there are only `FEWEST_SLOW`."""
FEWEST_SLOW = 5
"""ResNet-18 reads 32 images of 224x224 in 0.7 s on 2 cores. p95 is then little less than the longest of them."""
LONGEST_S = 120.0
"""For each network: a larger batch that would take longer than this is left out, so that measuring comes to an end."""

Network = nn.Module | OnnxNetwork
Run = Callable[[], None]


@torch.no_grad()
def interleaved(networks: Mapping[str, Network], channels: int, image_size: Sequence[int]) -> dict[str, list[Latency]]:
    """The latency of each network, by batch size, in evaluation mode and in the precision of its weights.

    The networks take turns, run by run, so that a slow second of the machine falls on all and ratios hold. A larger
    batch is left out, for all of them, where it does not fit into memory or would take minutes.
    """
    found: dict[str, list[Latency]] = {name: [] for name in networks}
    for batch_size in BUDGET_S:
        try:
            runs = {name: _run(network, (batch_size, channels, *image_size)) for name, network in networks.items()}
            for name, times_s in _timed(runs, batch_size):
                found[name].append(_latency(batch_size, times_s, networks[name]))
        except Exception as error:
            if batch_size == 1 or not ran_out(error):
                raise
    return found


def _timed(runs: Mapping[str, Run], batch_size: int) -> Iterator[tuple[str, list[float]]]:
    round_s = min(_round(runs) for _ in range(2)) / len(runs)
    slow = batch_size > 1 and round_s * (FEWEST_RUNS + WARM_UP) > PATIENCE_S
    if slow and round_s * FEWEST_SLOW > LONGEST_S:
        return
    end = time.perf_counter() + BUDGET_S[batch_size] * len(runs)
    for _ in range(0 if slow else WARM_UP):  # the two rounds above have warmed what is slow
        _round(runs)
    times_s: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(MOST_RUNS):
        if number >= (FEWEST_SLOW if slow else FEWEST_RUNS) and time.perf_counter() > end:
            break
        for name, run in runs.items():
            times_s[name].append(_seconds(run))
    yield from times_s.items()


def _round(runs: Mapping[str, Run]) -> float:
    return sum(_seconds(run) for run in runs.values())


def _seconds(run: Run) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def _run(network: Network, shape: tuple[int, ...]) -> Run:
    """One answer to a blank batch, waited for."""
    if isinstance(network, OnnxNetwork):
        zeros: Any = np.zeros(shape, np.float32)
        return lambda: _forget(network(zeros))
    images_NCHW = _blank(network, shape)
    if images_NCHW.device.type != "cuda":
        return lambda: _forget(network(images_NCHW))

    def run() -> None:
        network(images_NCHW)
        torch.cuda.synchronize(images_NCHW.device)

    return run


def _forget(_answer: object) -> None:
    pass


def _blank(network: nn.Module, shape: tuple[int, ...]) -> Tensor:
    weight = next(network.parameters())
    zeros = torch.zeros(shape, dtype=weight.dtype, device=weight.device)
    return zeros.to(memory_format=torch.channels_last)


def _latency(batch_size: int, times_s: list[float], network: Network) -> Latency:
    cuts = statistics.quantiles(times_s, n=20, method="inclusive")
    runtime: Runtime = "onnxruntime" if isinstance(network, OnnxNetwork) else "torch"
    return Latency(
        batch_size=batch_size,
        p50_s=statistics.median(times_s),
        p95_s=cuts[-1],
        runs=len(times_s),
        runtime=runtime,
    )
