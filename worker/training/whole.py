"""A trained network as one process has it, whatever ranks kept of it."""

import torch
from torch import Tensor, nn

from worker.training import architecture
from worker.training.distributed import Ranks


def on_host(network: nn.Module, ranks: Ranks) -> nn.Module | None:
    """The network on rank 0's CPU, to be exported; null on the other ranks. Called by all.

    Weights that ranks divide are gathered one by one: no device holds more than one whole weight.
    """
    if not ranks.sharded:
        return network.to("cpu") if ranks.rank == 0 else None
    state = {name: _gathered(tensor, ranks.rank == 0) for name, tensor in network.state_dict().items()}
    if ranks.rank:
        return None
    dtype = next(network.parameters()).dtype
    whole = architecture.assemble(architecture.of(network)).to(dtype)
    whole.load_state_dict(state)
    return whole.train(network.training)


@torch.no_grad()
def _gathered(tensor: Tensor, keep: bool) -> Tensor | None:
    found: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return found.cpu() if keep else None
