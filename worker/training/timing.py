"""How long networks take, measured side by side: see `turns`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from app.contract.report import Latency, Runtime
from worker.training import turns
from worker.training.onnx_network import OnnxNetwork
from worker.training.turns import FEWEST_RUNS, FEWEST_SLOW, MOST_RUNS, Run

__all__ = ["FEWEST_RUNS", "FEWEST_SLOW", "MOST_RUNS", "interleaved"]

Network = nn.Module | OnnxNetwork


@torch.no_grad()
def interleaved(networks: Mapping[str, Network], channels: int, image_size: Sequence[int]) -> dict[str, list[Latency]]:
    """The latency of each network, by batch size, in evaluation mode and in the precision of its weights.

    The networks take turns, run by run, so that a slow second of the machine falls on all and ratios hold. A larger
    batch is left out, for all of them, where it does not fit into memory or would take minutes.
    """
    found: dict[str, list[Latency]] = {name: [] for name in networks}

    def runs(batch_size: int) -> dict[str, Run]:
        return {name: _run(network, (batch_size, channels, *image_size)) for name, network in networks.items()}

    for batch_size, name, times_s in turns.by_batch_size(runs):
        runtime: Runtime = "onnxruntime" if isinstance(networks[name], OnnxNetwork) else "torch"
        found[name].append(turns.latency(batch_size, times_s, runtime))
    return found


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
