"""Where each rank's global random numbers come from, and how they are saved so that a resumed run draws the same.

Order and augmentation do not use these: they are functions of (seed, epoch, sample). These serve initial weights and
what a network draws itself, such as dropout.
"""

import base64
import hashlib
import random
from typing import Any

import numpy as np
import torch


def seed_all(seed: int, *parts: str | int) -> None:
    """Seed torch (all devices), NumPy and Python from the job's seed and a name of the stream, e.g. phase and rank."""
    digest = hashlib.sha256(repr((seed, *parts)).encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "little") >> 1)
    np.random.seed(int.from_bytes(digest[8:12], "little"))
    random.seed(digest)


def state(device: torch.device) -> dict[str, Any]:
    """The state of every global generator of this process, as JSON."""
    _, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    version, internal, gauss = random.getstate()
    return {
        "torch": _text(torch.get_rng_state()),
        "cuda": _text(torch.cuda.get_rng_state(device)) if device.type == "cuda" else None,
        "numpy": [np.asarray(keys).tolist(), int(position), int(has_gauss), float(cached)],
        "python": [version, list(internal), gauss],
    }


def restore(saved: dict[str, Any], device: torch.device) -> None:
    """Go on exactly where `state` was taken."""
    torch.set_rng_state(_tensor(saved["torch"]))
    if device.type == "cuda" and saved["cuda"]:
        torch.cuda.set_rng_state(_tensor(saved["cuda"]), device)
    keys, position, has_gauss, cached = saved["numpy"]
    np.random.set_state(("MT19937", np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    version, internal, gauss = saved["python"]
    random.setstate((version, tuple(internal), gauss))


def _text(state_bytes: torch.Tensor) -> str:
    return base64.b64encode(state_bytes.cpu().numpy().tobytes()).decode()


def _tensor(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
