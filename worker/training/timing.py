"""How long networks take, measured side by side: both meet the same machine at the same moment."""

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from app.contract.report import Latency

FEWEST_RUNS, MOST_RUNS = 30, 200
WARM_UP = 5
BUDGET_S = {1: 2.0, 32: 3.0}
"""Seconds for all networks together, by batch size. Batch 1 takes its fewest runs whatever that takes; a larger batch
whose fewest runs would not fit is left out of the report, so that it stays a matter of seconds on 2 cores."""


@torch.no_grad()
def interleaved(
    networks: Mapping[str, nn.Module], channels: int, image_size: Sequence[int]
) -> dict[str, list[Latency]]:
    """The latency of each network, by batch size, in evaluation mode and in the precision of its weights.

    The networks take turns, run by run, so that a slow second of the machine falls on all and ratios hold.
    """
    found: dict[str, list[Latency]] = {name: [] for name in networks}
    for batch_size in BUDGET_S:
        for name, times_s in _timed(networks, (batch_size, channels, *image_size)):
            found[name].append(_latency(batch_size, times_s))
    return found


def _timed(networks: Mapping[str, nn.Module], shape: tuple[int, ...]) -> Iterator[tuple[str, list[float]]]:
    inputs = {name: _blank(network, shape) for name, network in networks.items()}
    round_s = min(_round(networks, inputs) for _ in range(2))
    if shape[0] > 1 and round_s * (FEWEST_RUNS + WARM_UP) > BUDGET_S[shape[0]]:
        return
    end = time.perf_counter() + BUDGET_S[shape[0]]
    for _ in range(WARM_UP):
        _round(networks, inputs)
    times_s: dict[str, list[float]] = {name: [] for name in networks}
    for run in range(MOST_RUNS):
        if run >= FEWEST_RUNS and time.perf_counter() > end:
            break
        for name, network in networks.items():
            times_s[name].append(_seconds(network, inputs[name]))
    yield from times_s.items()


def _round(networks: Mapping[str, nn.Module], inputs: Mapping[str, Tensor]) -> float:
    return sum(_seconds(network, inputs[name]) for name, network in networks.items())


def _seconds(network: nn.Module, images_NCHW: Tensor) -> float:
    on_gpu = images_NCHW.device.type == "cuda"
    begun = time.perf_counter()
    network(images_NCHW)
    if on_gpu:
        torch.cuda.synchronize(images_NCHW.device)
    return time.perf_counter() - begun


def _blank(network: nn.Module, shape: tuple[int, ...]) -> Tensor:
    weight = next(network.parameters())
    zeros = torch.zeros(shape, dtype=weight.dtype, device=weight.device)
    return zeros.to(memory_format=torch.channels_last)


def _latency(batch_size: int, times_s: list[float]) -> Latency:
    cuts = statistics.quantiles(times_s, n=20, method="inclusive")
    return Latency(batch_size=batch_size, p50_s=statistics.median(times_s), p95_s=cuts[-1], runs=len(times_s))
