"""`torch.compile` for the training steps: whether, with what, and where its work is kept.

Only steps are compiled. Evaluation, export and recalibration call the network itself: they are few, and a compiled
network would be compiled again for each. Batches have few sizes in a run (the full share, the last one, pieces of
them), so each is compiled by itself rather than one for all of them.
"""

import importlib.util
import logging
import os
import shutil
import sysconfig
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from app.contract.events import Noted
from app.contract.job import JobSpec
from app.contract.options import compile_obstacle
from app.contract.training import COMPILE_PAYS_STEPS
from worker.training import memory
from worker.training.errors import bad_spec
from worker.training.events import Reporter

POINTER = "/training/compile"
KEPT_BYTES = 4 << 30
"""Of compiled code on a worker; a ResNet-50's is 10 MB. Beyond it the oldest files go."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """Whether a network's steps are compiled, and if not, why."""

    compiled: bool
    reason: str = ""


def choose(spec: JobSpec, device_kind: str, steps_per_epoch: int) -> Choice:
    """What `compile` of a spec means on a kind of device. Raises `bad_spec` when what is asked for cannot be done."""
    asked = spec.training.compile
    if asked is True:
        if lacking := _lacking(device_kind):
            raise bad_spec(POINTER, f"{lacking} on the worker, or set compile to auto or false.", "no_compiler")
        return Choice(True)
    if asked is False:
        return Choice(False)
    reason = _why_not(spec, device_kind, steps_per_epoch)
    return Choice(not reason, reason)


def _why_not(spec: JobSpec, device_kind: str, steps_per_epoch: int) -> str:
    steps = spec.training.epochs * steps_per_epoch
    if device_kind != "cuda":
        return "It gains nothing on a CPU."
    if steps < COMPILE_PAYS_STEPS:
        return f"It takes longer than {steps:,} steps can win back."
    if obstacle := compile_obstacle(spec.compression):
        return f"{obstacle} changes how layers compute in every step."
    return _lacking(device_kind)


def _lacking(device_kind: str) -> str:
    """What has to be installed first; empty when nothing."""
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "Compiling needs Python's headers: install python3-dev"
    if device_kind == "cuda" and importlib.util.find_spec("triton") is None:
        return "Compiling for a GPU needs triton: install a torch that is built for CUDA"
    name = "gcc" if device_kind == "cuda" else "g++"
    if not shutil.which(name):
        return f"Compiling needs {name}: install it"
    return ""


@dataclass(frozen=True)
class Compiler:
    """Compiles a network, if it was chosen; `required`: whether the spec insists."""

    choice: Choice
    required: bool
    reporter: Reporter

    def compiled(self, network: nn.Module, try_out: Callable[[nn.Module], object]) -> nn.Module:
        """The network as it is to be called in steps; its weights and names stay its own.

        `try_out` makes one pass forward and back: it is then that torch compiles. What it cannot compile is computed
        as ever where the spec leaves that to the worker, and else refused. Raises `bad_spec`.
        """
        if not self.choice.compiled:
            return network
        try:
            _prepare(on_cpu=next(network.parameters()).device.type == "cpu")
            result: nn.Module = torch.compile(network, dynamic=False)  # type: ignore[assignment]
            try_out(result)
        except Exception as error:
            if memory.ran_out(error):
                raise
            return self._without(network, error)
        return result

    def _without(self, network: nn.Module, error: Exception) -> nn.Module:
        told = f"torch.compile fails for this network ({type(error).__name__}: {str(error)[:600]})"
        if self.required:
            raise bad_spec(POINTER, f"{told}: set compile to auto or false.", "not_compiled") from error
        log.warning("%s", told, exc_info=error)
        torch._dynamo.reset()
        network.zero_grad(set_to_none=True)
        message = f"{told}: it is trained without."
        self.reporter.send(Noted, level="warning", code="not_compiled", message=message)
        return network


def _prepare(*, on_cpu: bool) -> None:
    """Where compiled code is kept; and the same kernels every time, so that a resumed run computes the same bits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch warns of its own modules
        import_module("torch._inductor.compile_fx")
    inductor: Any = import_module("torch._inductor.config")
    inductor.deterministic = True  # else kernels are chosen by stopwatch
    if on_cpu:
        inductor.compile_threads = 1  # in this process: slots are for ranks
    torch._dynamo.config.optimize_ddp = False  # gradients leave in one piece: splitting for DDP fails on some networks
    folder = os.environ.get("TRAINYARD_CACHE_DIR")
    if not folder:
        return
    kept = Path(folder) / "compiled" / torch.__version__
    kept.mkdir(parents=True, exist_ok=True)
    make_room(kept.parent, KEPT_BYTES)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(kept)
    os.environ["TRITON_CACHE_DIR"] = str(kept / "triton")


def make_room(folder: Path, most_bytes: int) -> None:
    """Remove the oldest files under a folder until the rest is at most so large. What is loaded stays loaded."""
    files = sorted(_files(folder), key=lambda each: each[0].st_mtime)
    over = sum(stat.st_size for stat, _ in files) - most_bytes
    for stat, path in files:
        if over <= 0:
            return
        path.unlink(missing_ok=True)
        over -= stat.st_size


def _files(folder: Path) -> Iterator[tuple[os.stat_result, Path]]:
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # other jobs compile and make room, too
            if path.is_file():
                yield path.stat(), path
