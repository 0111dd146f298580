"""What compression costs of accuracy, trained on digits by the training program itself, over several seeds.

Runs of a seed share the split and the order of images. The accuracy is that of the last epoch. Every compressed run is
paired with another run of its seed, so that a gain is a mean of differences, with a 95 % interval of Student's t.
"""

import json
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.pipelines.seeds import each_on_a_processor

NETWORK = "resnet10t"
SHORT = 3
"""Epochs of the runs that start from the trained network."""
RANK = 2
T_95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}
"""Student's t for so many pairs."""
SPLIT: dict[str, Any] = {"kind": "depthwise_separable"}
TAUGHT: dict[str, Any] = {"kind": "distillation", "job": "job_dense", "temperature": 4.0, "weight": 0.7}
RUNS: dict[str, tuple[list[dict[str, Any]], bool, bool]] = {
    "dense": ([], False, False),
    "depthwise": ([SPLIT], False, False),
    "depthwise, distilled": ([SPLIT, TAUGHT], False, False),
    "from trained: svd": ([{**SPLIT, "init": "svd", "rank": RANK, "activation": "none"}], True, True),
    "from trained: random": ([{**SPLIT, "rank": RANK, "activation": "none"}], True, True),
    "ratio 2": ([{"kind": "activation_compression", "ratio": 2}], False, False),
    "same size": ([{"kind": "channel_pruning", "target": "parameters", "round_to": 1}], False, False),
    "int8": ([{"kind": "quantization"}], True, True),
}
"""Compression, whether it starts from the dense run's network, and whether for few epochs. `same size` is as narrow as
`ratio 2` has few parameters: pruned before it is trained, a network is a plain one with fewer channels."""
PAIRS: dict[str, tuple[str, str, float]] = {
    "depthwise, distilled, above dense": ("depthwise, distilled", "dense", -0.01),
    "svd start above a random start, after as many epochs": ("from trained: svd", "from trained: random", 0.0),
    "ratio 2 above a plain network of its size": ("ratio 2", "same size", -1.0),
    "int8 above its fp32": ("int8", "int8 in fp32", -0.01),
}
"""One run beside another, and the least mean difference that is wanted."""


def measure(seeds: int, epochs: int, folder: Path) -> dict[str, list[float]]:
    """The accuracies of each run, seed by seed."""
    found = each_on_a_processor(lambda seed: _of_seed(seed, epochs, folder), seeds)
    return {name: [each[name] for each in found] for name in found[0]}


def _of_seed(seed: int, epochs: int, folder: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    ratio = 1.0
    for number, (name, (methods, trained, short)) in enumerate(RUNS.items()):
        begun_s = time.monotonic()
        dense = folder / f"{seed}-0" / "run" / "artifacts"
        chosen = [each | {"ratio": ratio} for each in methods] if name == "same size" else methods
        report = _run(folder / f"{seed}-{number}", dense, chosen, seed, SHORT if short else epochs, trained)
        found[name] = report["after"]["accuracy"]
        if name == "ratio 2":
            ratio = round(report["ratios"]["parameters"], 3)
        if name == "int8":
            found["int8 in fp32"] = report["stages"][-2]["accuracy"]
        print(f"  seed {seed}  {name:<24} {found[name]:.4f}  ({time.monotonic() - begun_s:.0f} s)", flush=True)
    return found


def gains(found: dict[str, list[float]]) -> dict[str, tuple[float, float]]:
    """The mean difference of each pair, named with its interval, and what is wanted of it."""
    answers = {}
    for question, (one, other, least) in PAIRS.items():
        differences = [a - b for a, b in zip(found[one], found[other], strict=True)]
        answers[f"{question} ({_interval(differences)})"] = (round(statistics.mean(differences), 4), least)
    return answers


def _interval(values: list[float]) -> str:
    if len(values) < 2:
        return "one seed"
    half = T_95.get(len(values), 2.0) * statistics.stdev(values) / math.sqrt(len(values))
    return f"95 %: {statistics.mean(values) - half:+.4f} to {statistics.mean(values) + half:+.4f}"


def _run(
    folder: Path, dense: Path, methods: list[dict[str, Any]], seed: int, epochs: int, trained: bool
) -> dict[str, Any]:
    """Train once; the report."""
    folder.mkdir()
    paths = {"run_dir": str(folder / "run"), "teacher": str(dense), "model": str(dense)}
    order = folder / "order.json"
    order.write_text(json.dumps({"spec": _spec(methods, seed, epochs, trained), "paths": paths}))
    command = [sys.executable, "-m", "worker.training", str(order), str(folder / "run")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(f"compression: the run failed:\n{ended.stderr[-4000:]}")
    report: dict[str, Any] = json.loads((folder / "run/artifacts/report.json").read_text("utf-8"))
    return report


def _spec(methods: list[dict[str, Any]], seed: int, epochs: int, trained: bool) -> dict[str, Any]:
    network = (
        {"kind": "checkpoint", "job": "job_dense"} if trained else {"kind": "timm", "name": NETWORK, "channels": 1}
    )
    return {
        "dataset": {"kind": "builtin", "name": "digits", "validation_fraction": 0.5},
        "model": network,
        "augment": [
            {"kind": "random_rotate", "degrees": 15},
            {"kind": "random_affine", "translate": [0.1, 0.1], "scale": [0.85, 1.15]},
            {"kind": "resize", "size": [32, 32]},
        ],
        "compression": methods,
        "training": {
            "epochs": epochs,
            "batch_size": 64,
            "seed": seed,
            "optimizer": {"kind": "adamw", "learning_rate": 0.001 if trained else 0.003, "weight_decay": 0.05},
            "schedule": {"kind": "cosine", "warmup_epochs": 0 if trained else 1},
        },
    }
