"""On a GPU: what share of the rate on synthetic data does a network reach when our pipeline feeds it?

bf16, 224, ResNet-18 and ResNet-50. Where there is no GPU, nothing is measured, and the result says so.
"""

import time
from collections.abc import Iterator
from itertools import repeat
from typing import Any

import numpy as np
import torch

from benchmarks.pipelines import SIZE
from benchmarks.pipelines.ours import in_memory, spec
from benchmarks.pipelines.rounds import rounded
from worker.training import augment, executors, normalization
from worker.training.batched.resident import Resident
from worker.training.libraries import timm
from worker.training.loader import Batch, Loader

NETWORKS = ("resnet18", "resnet50")
_BATCH = 256
_WARM, _STEPS = 20, 100


def measure(path: str, threads: int) -> dict[str, Any] | str:
    """For each network: images a second on one batch that stays on the GPU, and fed by the loader."""
    if not torch.cuda.is_available():
        return "not run: this machine has no GPU."
    found: dict[str, Any] = {}
    for name in NETWORKS:
        network = timm.create_model(name, num_classes=1000).cuda().to(memory_format=torch.channels_last).train()
        synthetic = torch.randn(_BATCH, 3, SIZE, SIZE, device="cuda").to(memory_format=torch.channels_last)
        still = _rate(network, repeat(synthetic))
        found[f"{name}, synthetic images/s"] = rounded(still)
        found[f"{name}, fed share"] = rounded(_rate(network, _fed(path, threads, stays=False)) / still)
        found[f"{name}, fed share, images on the GPU"] = rounded(
            _rate(network, _fed(path, threads, stays=True)) / still
        )
    return found


def _fed(path: str, threads: int, *, stays: bool) -> Iterator[torch.Tensor]:
    device = torch.device("cuda")
    images, job = in_memory(path), spec({"kind": "folder", "path": "unused"})
    pipeline = augment.compile(job)
    scaling = normalization.fit(images, pipeline, threads)
    order = np.resize(np.arange(len(images)), _BATCH * (_WARM + _STEPS + 8)).reshape(-1, _BATCH)
    kept = Resident(images, slice(0, len(images)))
    if stays:
        kept.open(device)
    with Loader(images, pipeline, threads, executor=executors.choose(pipeline, device, kept)) as loader:
        yield from (_on_gpu(batch, scaling) for batch in loader.train(0, list(order)))


def _on_gpu(batch: Batch, scaling: normalization.Normalization) -> torch.Tensor:
    return normalization.apply(batch.images_NHWC.to("cuda", non_blocking=True), scaling, torch.float32)


def _rate(network: torch.nn.Module, batches: Iterator[torch.Tensor]) -> float:
    """Images a second of forward, backward and step."""
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, fused=True)
    labels = torch.zeros(_BATCH, dtype=torch.int64, device="cuda")
    begun = 0.0
    for number in range(_WARM + _STEPS):
        if number == _WARM:
            torch.cuda.synchronize()
            begun = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(network(next(batches)), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.cuda.synchronize()
    return _BATCH * _STEPS / (time.perf_counter() - begun)
