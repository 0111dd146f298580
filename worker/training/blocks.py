"""The blocks of a network: what stands in a list or a row of its own kind of module, such as those of its stages.

What lies around them (the stem, pooling, the classifier) belongs to none.
"""

from collections.abc import Iterator

from torch import nn

ROWS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def blocks_of(model: nn.Module) -> dict[str, nn.Module]:
    """The smallest modules of several layers that stand in a row with others, by name."""
    return dict(_blocks("", model))


def _blocks(prefix: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        if _holds_a_row(child) or isinstance(child, ROWS):
            yield from _blocks(f"{path}.", child)
        elif _has_layers(child) and isinstance(module, ROWS):
            yield path, child


def _holds_a_row(module: nn.Module) -> bool:
    """Whether blocks stand in a row somewhere inside it."""
    return any(
        isinstance(each, ROWS) and sum(_has_layers(child) for child in each.children()) > 1 for each in module.modules()
    )


def _has_layers(module: nn.Module) -> bool:
    """Whether it is made of several layers with weights."""
    return sum(bool(each._parameters) for each in module.modules()) > 1


def units_of(model: nn.Module) -> list[nn.Module]:
    """What is gathered at a time, where ranks divide the weights: each block, and last what is left."""
    return [*blocks_of(model).values(), model]


def largest_unit(model: nn.Module) -> int:
    """Weights of the unit that has most."""
    blocks = blocks_of(model)
    inside = {id(weight) for block in blocks.values() for weight in block.parameters()}
    left = sum(weight.numel() for weight in model.parameters() if id(weight) not in inside)
    return max(left, *(sum(weight.numel() for weight in block.parameters()) for block in blocks.values()), 0)


def most_gathered(model: nn.Module, let_go: bool) -> int:
    """Most numbers that a rank holds at a time beside its rows: weights, what they come in, gradients on their way.

    `let_go`: whether weights are let go behind the forward pass; then two units are there at a time, since one is
    fetched ahead.
    """
    largest, everything = largest_unit(model), sum(weight.numel() for weight in model.parameters())
    weights = min(2 * largest, everything) if let_go else everything
    return weights + 3 * largest
