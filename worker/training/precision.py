"""In which number format the network computes. Weights stay fp32 (fp64 for proofs); bf16 and fp16 are autocast."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch

from app.contract.training import Precision as PrecisionName
from worker.training.errors import bad_spec

POINTER = "/training/precision"


@dataclass(frozen=True)
class Precision:
    """`weights` is the type of parameters and inputs; `compute`, when given, that of the autocast operations."""

    device_type: str
    weights: torch.dtype = torch.float32
    compute: torch.dtype | None = None

    def autocast(self) -> AbstractContextManager[object]:
        """Surround the forward pass with it."""
        return torch.autocast(self.device_type, dtype=self.compute) if self.compute else nullcontext()

    def scaler(self) -> torch.amp.GradScaler:
        """Scales the loss under fp16, whose gradients would vanish; otherwise passes everything through."""
        return torch.amp.GradScaler(self.device_type, enabled=self.compute is torch.float16)


def choose(name: PrecisionName, device: torch.device) -> Precision:
    """The precision of a spec on a device. Raises `bad_spec` when the device cannot compute so."""
    match name:
        case "fp64":
            return Precision(device.type, torch.float64)
        case "fp32":
            return Precision(device.type)
        case "fp16":
            return _fp16(device)
        case "bf16":
            return _bf16(device)
        case "auto":
            has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
            return Precision(device.type, compute=torch.bfloat16 if has_bf16 else None)


def expected(name: PrecisionName, device_kind: str) -> Literal["fp64", "fp32", "bf16", "fp16"]:
    """What `auto` will be on a kind of device; GPUs of before 2020 have no bf16, and compute in fp32."""
    if name == "auto":
        return "bf16" if device_kind == "cuda" else "fp32"
    return name


def refuse_unsupported(name: PrecisionName, device_kind: str) -> None:
    """What can be refused from the kind of device alone, without touching it: called while planning."""
    if name == "fp16" and device_kind != "cuda":
        raise bad_spec(POINTER, "fp16 needs a GPU: use auto, fp32 or bf16 on a CPU.", "needs_gpu")


def _fp16(device: torch.device) -> Precision:
    refuse_unsupported("fp16", device.type)
    return Precision(device.type, compute=torch.float16)


def _bf16(device: torch.device) -> Precision:
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise bad_spec(POINTER, "This GPU does not compute in bf16: use fp16 or fp32.", "not_supported")
    return Precision(device.type, compute=torch.bfloat16)
