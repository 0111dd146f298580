"""A forward pass without arithmetic: what flows through a network, seen in milliseconds whatever its size."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call


def forward(model: nn.Module, channels: int, image_size: Sequence[int], images: int = 1) -> Tensor:
    """The network's output for `images` blank images, on the meta device where it can run there.

    The modules and hooks that run are the model's own; its weights and buffers stay untouched. The mode (training or
    evaluation) is the model's. Raises whatever the network raises when the images do not fit it.
    """
    shape = (images, channels, *image_size)
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    dtype = next(model.parameters()).dtype
    image = torch.zeros(shape, dtype=dtype, device="meta")
    weightless = {name: _on_meta(tensor) for name, tensor in tensors.items()}
    output: Tensor = functional_call(model, weightless, (image,))
    return output


def does_not_run(image_size: Sequence[int], error: Exception) -> str:
    """The way out for a network that a blank image cannot pass."""
    size = f"{image_size[0]}x{image_size[1]}"
    reason = f"{type(error).__name__}: {error}"[:500]
    return f"The network cannot read {size} images ({reason}): use a larger image size, or another model."


def _on_meta(tensor: Tensor) -> Tensor:
    empty = torch.empty_like(tensor, device="meta")
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
