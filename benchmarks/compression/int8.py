"""ResNet-18 as an int8 file beside its fp32 file, both in ONNX Runtime, one image at a time, in turns."""

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.compression.counts import SIZE, network
from worker.training import formats
from worker.training.architecture import of
from worker.training.card import ModelCard, Scaling
from worker.training.formats import int8
from worker.training.onnx_network import OnnxNetwork

THREADS = 2
RUNS = 20
"""Of each file in a round."""


def measure(rounds: int, folder: Path) -> dict[str, Any]:
    """Bytes, median latencies and their ratios. Weights are random: accuracy is another part's."""
    plain, rounded = folder / "plain.onnx", folder / "int8.onnx"
    model = network()
    classes = tuple(str(number) for number in range(1000))
    scaling = Scaling(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    card = ModelCard(architecture=of(model), classes=classes, channels=3, image_size=SIZE, normalization=scaling)
    formats.write(model, card, "onnx", plain)
    images = np.random.default_rng(0).random((64, 3, *SIZE), np.float32)
    int8.write(plain, card, [images[start : start + 8] for start in range(0, 64, 8)], (), rounded)
    times = _interleaved({path.stem: OnnxNetwork(path, THREADS) for path in (plain, rounded)}, images[:1], rounds)
    sizes = {path.stem: path.stat().st_size for path in (plain, rounded)}
    return {
        "size_bytes": sizes,
        "seconds": times,
        "threads": THREADS,
        "bytes": round(sizes["plain"] / sizes["int8"], 2),
        "times_as_fast": round(times["plain"] / times["int8"], 2),
    }


def _interleaved(
    networks: dict[str, OnnxNetwork], image_1CHW: npt.NDArray[np.float32], rounds: int
) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in networks}
    for number in range(rounds + 1):
        for name, each in networks.items():
            for _ in range(RUNS):
                begun_s = time.perf_counter()
                each(image_1CHW)
                if number:
                    times[name].append(time.perf_counter() - begun_s)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, value in medians.items():
        print(f"  {name:<44} {value * 1000:8.2f} ms")
    return medians
