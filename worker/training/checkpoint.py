"""Checkpoints that survive a crash at any instant (rule 11), and loading that trusts nothing unverified.

A checkpoint is a folder `<phase>-<step>`: written under another name, each file synced, sizes and SHA-256 in
manifest.json, then renamed, then the folder around it synced. Only then is it reported.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from app.contract.events import Phase
from app.contract.faults import Point, reach

STATE, PROGRESS, MANIFEST = "state.pt", "progress.json", "manifest.json"
_PHASE_ORDER: dict[str, int] = {"baseline": 0, "training": 1}


class Damaged(Exception):
    """A checkpoint is not whole; the message says which file."""


@dataclass
class Position:
    """How far a phase's training is, in whole numbers: enough to find the next sample."""

    phase: Phase
    epoch: int = 0  # completed
    batch: int = 0  # completed in the epoch under way
    step: int = 0  # completed in the phase
    rollbacks: int = 0  # times that it diverged: each halves the rate
    micro_batch: int | None = None  # most images a rank computes at once; null: its whole share
    prunings: int = 0  # steps of pruning during training that were made
    best: float | None = None  # what is exported by, as more is better; of epochs with the network's last form
    best_epoch: int = 0
    bar: float | None = None  # what early stopping watches, at its best
    waited: int = 0  # epochs since then
    stopped_early: bool = False
    epoch_sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])  # loss, correct, samples of this epoch


@dataclass
class Snapshot:
    """All that a run needs to go on bit-exactly. `tensors`: model, optimizer, scaler, methods; with the options that
    need them, `ema` and `best`. `rng`: one entry a rank.
    """

    position: Position
    identity: dict[str, str]  # what must be the same when it is loaded: the spec's hash, the data's
    tensors: dict[str, Any]
    rng: list[dict[str, Any]]
    pruned: dict[str, Any] | None = None  # what pruning during training has made of the network: an `Applied`, as JSON
    part: dict[str, Any] = field(default_factory=dict)  # this rank's rows, where ranks divide the state: see `parts`

    file: ClassVar[str] = STATE

    def dump(self, file: BinaryIO) -> None:
        """Write the tensors."""
        import torch  # not by those who only look for checkpoints, or save another library's

        torch.save(self.tensors, file)


def save(snapshot: Snapshot, folder: Path, carried: Iterable[Path] = ()) -> dict[str, Any]:
    """Write a checkpoint under `folder`; returns its name, size and the manifest's hash. `carried` files go along."""
    position = snapshot.position
    name = f"{position.phase}-{position.step:08d}"
    partial = folder / f".{name}.partial"
    remove(partial)
    partial.mkdir(parents=True)
    files = {path.name: _copy(path, partial / path.name) for path in carried}
    files[snapshot.file] = _write(partial / snapshot.file, snapshot.dump)
    progress = {"position": asdict(position), "identity": snapshot.identity, "rng": snapshot.rng}
    progress |= {"pruned": snapshot.pruned} if snapshot.pruned else {}
    files[PROGRESS] = _write(partial / PROGRESS, lambda file: file.write(json.dumps(progress).encode()))
    manifest = json.dumps({"phase": position.phase, "epoch": position.epoch, "step": position.step, "files": files})
    _write(partial / MANIFEST, lambda file: file.write(manifest.encode()))
    _publish(partial, folder / name)
    size = sum(each["size_bytes"] for each in files.values())
    return {"name": name, "size_bytes": size, "sha256": hashlib.sha256(manifest.encode()).hexdigest()}


def verify(folder: Path) -> dict[str, Any]:
    """The manifest of a checkpoint whose every file was read and is as it was written. Raises `Damaged`."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text("utf-8"))
        for name, expected in manifest["files"].items():
            if _facts(folder / name) != expected:
                raise Damaged(f"{folder.name}/{name} is not what was written")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"{folder.name}: {type(error).__name__}: {error}") from error
    return manifest


def load(folder: Path) -> Snapshot:
    """Read a verified checkpoint, on the CPU, without unpickling anything but tensors and plain values.

    Of tensors that ranks had divided there are `parts.Pieces`.
    """
    import torch

    from worker.training import parts

    progress = json.loads((folder / PROGRESS).read_text("utf-8"))
    tensors = torch.load(folder / STATE, map_location="cpu", weights_only=True)
    position = Position(**progress["position"])
    tensors = parts.with_files(tensors, folder)
    return Snapshot(position, progress["identity"], tensors, progress["rng"], progress.get("pruned"))


def newest_good(candidates: Iterable[Path]) -> tuple[Path | None, list[str]]:
    """The first of the candidates that is whole, and what was wrong with those before it."""
    problems: list[str] = []
    for candidate in candidates:
        try:
            verify(candidate)
        except Damaged as damage:
            problems.append(str(damage))
        else:
            return candidate, problems
    return None, problems


def in_order(folder: Path) -> list[Path]:
    """The complete checkpoints under a folder, oldest first."""
    return sorted((path for path in folder.glob("*-*") if _age(path)), key=_age)


def newest_first(folder: Path) -> list[Path]:
    """The complete checkpoints under a folder, by their place in the run."""
    return in_order(folder)[::-1]


def remove(folder: Path) -> None:
    """Delete a checkpoint; renamed first, so that a half-deleted one is never taken for one."""
    if folder.exists():
        doomed = folder.with_name(f".{folder.name}.removed")
        shutil.rmtree(doomed, ignore_errors=True)
        folder.rename(doomed)
        shutil.rmtree(doomed)


def remove_unfinished(folder: Path, names: str = ".*.partial") -> None:
    """Delete what was being written when the run ended. Call it when nobody writes there any more."""
    for partial in folder.glob(names):
        shutil.rmtree(partial, ignore_errors=True)


def _age(folder: Path) -> tuple[int, int]:
    """Sorts checkpoints; empty, hence false, for a name that is none."""
    phase, _, step = folder.name.rpartition("-")
    return (_PHASE_ORDER[phase], int(step)) if phase in _PHASE_ORDER and step.isdecimal() else ()  # type: ignore[return-value]


class _Hashing:
    """A file that hashes what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.size_bytes = 0

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        self.size_bytes += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def _write(path: Path, fill: Any) -> dict[str, Any]:
    with path.open("wb") as file:
        hashing = _Hashing(file)
        fill(hashing)
        file.flush()
        os.fsync(file.fileno())
    return {"sha256": hashing.sha256.hexdigest(), "size_bytes": hashing.size_bytes}


def _copy(source: Path, target: Path) -> dict[str, Any]:
    """A second name for the same bytes where the file system can, else a copy: never a reference to outside."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())
    return _facts(target)


def _facts(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"sha256": digest, "size_bytes": path.stat().st_size}


def _publish(partial: Path, final: Path) -> None:
    remove(final)  # a step that was made again after a step back
    _sync(partial)
    reach(Point.CHECKPOINT_BEFORE_RENAME)
    partial.rename(final)
    _sync(final.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
