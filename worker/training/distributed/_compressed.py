"""What is sent of the gradients, where it is not all of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch._C._distributed_c10d import GradBucket
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook
from torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook import PowerSGDState, powerSGD_hook

RANK = 2
"""Of the matrices that stand for a gradient: the paper's choice for ResNet-18 (arXiv 1905.13727, section 5)."""
FIRST_STEPS = 10
"""Steps in which gradients are sent as they are, since they change fastest there. torch needs 2 for its buckets."""

Exchange = Callable[[Any, GradBucket], torch.futures.Future[torch.Tensor]]


@dataclass(frozen=True)
class Hook:
    """How DDP is told to exchange a bucket of gradients."""

    exchange: Exchange
    state: PowerSGDState | None

    def memory(self) -> dict[str, Any]:
        """What the next steps depend on. By bucket, whose order is settled before the first step."""
        if self.state is None:
            return {}
        _, keys, position, has_gauss, cached = self.state.rng.get_state(legacy=True)
        return {
            "step": self.state.iter,
            "left_out": dict(self.state.error_dict),
            "left": dict(self.state.p_memory_dict),
            "right": dict(self.state.q_memory_dict),
            "random": [np.asarray(keys).tolist(), int(position), int(has_gauss), float(cached)],
        }

    def recall(self, memory: dict[str, Any]) -> None:
        """Go on from there."""
        if self.state is None:
            return
        self.state.iter = memory["step"]
        self.state.error_dict.update(memory["left_out"])
        self.state.p_memory_dict.update(memory["left"])
        self.state.q_memory_dict.update(memory["right"])
        keys, position, has_gauss, cached = memory["random"]
        self.state.rng.set_state(("MT19937", np.array(keys, dtype=np.uint32), position, has_gauss, cached))


def hook(compression: Literal["none", "fp16", "powersgd"], device: torch.device) -> Hook | None:
    """The way of a spec; null: DDP's own. Call it anew for each network."""
    match compression:
        case "none":
            return None
        case "fp16":
            return Hook(_waited_for(fp16_compress_hook, device), None)
        case "powersgd":
            state = PowerSGDState(None, matrix_approximation_rank=RANK, start_powerSGD_iter=FIRST_STEPS)
            return Hook(_waited_for(powerSGD_hook, device), state)


def _waited_for(exchange: Exchange, device: torch.device) -> Exchange:
    """On CPUs a bucket is over before the next is begun: later parts of an exchange are begun by gloo's threads, and in
    another order on another rank they would add up what does not belong together. On a GPU the stream keeps the order.
    """
    if device.type == "cuda":
        return exchange

    def wait(state: Any, bucket: GradBucket) -> torch.futures.Future[torch.Tensor]:
        future = exchange(state, bucket)
        future.wait()
        return future

    return wait
