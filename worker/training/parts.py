"""Tensors of which each rank keeps some rows: which those are, and how they are saved and read again.

Rows are those of the first dimension, in the order of ranks: as many on each, but for the last ones. torch's DTensor is
known by what it can do, without loading it: other ways to distribute have none.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

Place = tuple[Any, ...]
"""Of a tensor in a tree of dictionaries: its keys."""


@dataclass(frozen=True)
class Pieces:
    """A saved tensor, in the rows that each rank wrote."""

    pieces: tuple[Tensor, ...]

    def whole(self) -> Tensor:
        """All rows, in new memory."""
        return torch.cat(self.pieces)

    def rows(self, first: int, count: int) -> Tensor:
        """Some rows. What is not among them is not read, where the pieces are files mapped into memory."""
        found, start = [self.pieces[0][:0]], 0
        for piece in self.pieces:
            begin, end = max(first - start, 0), min(first + count - start, len(piece))
            if begin < end:
                found.append(piece[begin:end])
            start += len(piece)
        return torch.cat(found)


@torch.no_grad()
def own(tensor: Tensor) -> Tensor:
    """This rank's rows of a tensor that ranks divide, in the same memory; any other tensor itself."""
    rows: Tensor = tensor.to_local() if _is_divided(tensor) else tensor  # type: ignore[attr-defined]
    return rows


def owned(tree: Any) -> Any:
    """The tree with this rank's rows in place of each tensor that ranks divide."""
    if isinstance(tree, Tensor):
        return own(tree)
    return {key: owned(value) for key, value in tree.items()} if isinstance(tree, dict) else tree


def divided(tree: Mapping[Any, Any], above: Place = ()) -> list[Place]:
    """Where in a tree of dictionaries there are tensors that ranks divide."""
    found: list[Place] = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found += divided(value, (*above, key))
        elif isinstance(value, Tensor) and _is_divided(value):
            found.append((*above, key))
    return found


def split(tree: Mapping[Any, Any], paths: Sequence[Place]) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """A tree without what lies at the paths, and a tree of that alone."""
    here = {path[0] for path in paths if len(path) == 1}
    below: dict[Any, list[Place]] = {}
    for path in paths:
        if len(path) > 1:
            below.setdefault(path[0], []).append(path[1:])
    rest = {key: value for key, value in tree.items() if key not in here and key not in below}
    parts = {key: value for key, value in tree.items() if key in here}
    for key, inner in below.items():
        rest[key], parts[key] = split(tree[key], inner)
    return rest, parts


def joined(rest: dict[Any, Any], parts: Sequence[Mapping[Any, Any]]) -> dict[Any, Any]:
    """The tree of which `split` made the rest, and each rank its part; what was divided is in `Pieces`."""
    for key, value in parts[0].items():
        each = [part[key] for part in parts]
        rest[key] = Pieces(tuple(each)) if isinstance(value, Tensor) else joined(rest.setdefault(key, {}), each)
    return rest


def whole(tree: Any) -> Any:
    """The tree with whole tensors in place of `Pieces`."""
    if isinstance(tree, Pieces):
        return tree.whole()
    return {key: whole(value) for key, value in tree.items()} if isinstance(tree, dict) else tree


def share(saved: Tensor | Pieces, like: Tensor) -> Tensor:
    """What this rank keeps of a saved tensor, where it keeps its rows of `like`."""
    if not _is_divided(like):
        return saved.whole() if isinstance(saved, Pieces) else saved
    first, count = _place(like)
    return saved.rows(first, count) if isinstance(saved, Pieces) else saved[first : first + count]


def laid_out(saved: Tensor, like: Tensor) -> Tensor:
    """The values of a saved tensor on the CPU, in the order in memory of one like it: rows come one after another, and

    weights may lie pixel by pixel. Fused optimizers walk through weights and moments side by side.
    """
    return torch.empty_like(like, dtype=saved.dtype, device="cpu", requires_grad=False).copy_(saved)


def kept(saved: Tensor | Pieces, like: Tensor) -> Tensor:
    """What this rank keeps of a saved tensor, on the CPU, in memory of its own: rows cut from a whole would hold it."""
    return laid_out(share(saved, like), own(like))


def whole_moments(saved: Mapping[str, Any], weights: Iterable[Tensor]) -> dict[str, Any]:
    """The state of an optimizer of whole `weights`, in their order, with whole moments laid out as they are."""
    state = {number: dict(moments) for number, moments in saved["state"].items()}
    for number, weight in enumerate(weights):
        for name, value in state.get(number, {}).items():
            if isinstance(value, Pieces):
                state[number][name] = laid_out(value.whole(), weight)
    return {**saved, "state": state}


@torch.no_grad()
def fill(tensor: Tensor, saved: Tensor | Pieces) -> None:
    """Copy what this rank keeps of a saved tensor into one like it."""
    own(tensor).copy_(share(saved, tensor))


@torch.no_grad()
def put(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give a network the state that `owned` gave of its `state_dict`, on this rank."""
    for name, tensor in network.state_dict().items():
        own(tensor).copy_(state[name])


def file_name(rank: int) -> str:
    """Of what a rank wrote of a checkpoint."""
    return f"part-{rank:05d}.pt"


def with_files(rest: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The state of a checkpoint: `rest`, joined with what ranks wrote beside it, if they did. No row is read yet."""
    files = sorted(folder.glob("part-*.pt"))
    if not files:
        return rest
    return joined(rest, [torch.load(file, map_location="cpu", weights_only=True, mmap=True) for file in files])


def counts(network: nn.Module) -> tuple[int, int]:
    """How many of a network's weights this rank keeps, and how many there are."""
    weights = list(network.parameters())
    return sum(own(each).numel() for each in weights), sum(each.numel() for each in weights)


def _is_divided(tensor: Tensor) -> bool:
    return hasattr(tensor, "to_local")


def _place(tensor: Any) -> tuple[int, int]:
    """The first of this rank's rows, and their number."""
    mesh, rows = tensor.device_mesh, tensor.shape[0]
    each = -(-rows // mesh.size())
    first = min(mesh.get_local_rank() * each, rows)
    return first, min(each, rows - first)
