"""Does augmentation raise validation accuracy? The same small budget with and without, over several seeds.

python -m benchmarks accuracy [--seeds 5] [--images 5] [--epochs 100]

Whole training runs (`python -m worker.training`) on few of the digits that come with scikit-learn: 5 of each to learn
from, 60 of each to validate on. With half of them to learn from a small network is at 0.993 without any help. The seed
decides the images, the first weights and every draw, so runs of one seed differ in the augmentation alone. The accuracy
is that of the last epoch: the best epoch would be chosen by the very images that it is measured on.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from benchmarks import record
from benchmarks.pipelines.seeds import each_on_a_processor
from worker.training.opencv import cv2

SIZE = [32, 32]
VALIDATED = 60  # images a class
LISTS: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "rotation": [{"kind": "random_rotate", "degrees": 15}],
    "rotation, shift and scale": [
        {"kind": "random_rotate", "degrees": 15},
        {"kind": "random_affine", "translate": [0.1, 0.1], "scale": [0.85, 1.15]},
    ],
    "flips": [{"kind": "random_flip", "axis": "horizontal"}, {"kind": "random_flip", "axis": "vertical"}],
}
"""The last is expected to do harm: a mirrored digit is another one, or none."""


def write_digits(folder: Path, seed: int, images: int) -> None:
    """`train/` and `val/` with a folder for each digit, and `images` files in each of the former."""
    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    for label in range(10):
        of_label = order[digits.target[order] == label][: images + VALIDATED]
        for place, number in enumerate(of_label):
            part = folder / ("train" if place < images else "val") / str(label)
            part.mkdir(parents=True, exist_ok=True)
            picture = np.rint(digits.images[number] * 255 / 16).astype(np.uint8)
            (part / f"{number}.png").write_bytes(cv2.imencode(".png", picture)[1].tobytes())


def spec(dataset: Path, seed: int, epochs: int, augmentations: list[dict[str, Any]]) -> dict[str, Any]:
    """Few images, a short cosine, the network of the demo."""
    return {
        "dataset": {"kind": "folder", "path": str(dataset)},
        "model": {"kind": "timm", "name": "resnet10t", "channels": 1},
        "augment": [{"kind": "resize", "size": SIZE}, *augmentations],
        "training": {
            "epochs": epochs,
            "batch_size": 25,
            "seed": seed,
            "optimizer": {"kind": "adamw", "learning_rate": 0.003, "weight_decay": 0.05},
            "schedule": {"kind": "cosine", "warmup_epochs": 2},
        },
    }


def accuracy(job: dict[str, Any], folder: Path) -> float:
    """Train once; the validation accuracy after the last epoch."""
    folder.mkdir()
    order = folder / "spec.json"
    order.write_text(json.dumps(job))
    command = [sys.executable, "-m", "worker.training", str(order), str(folder / "run")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(f"accuracy: the run failed:\n{ended.stderr}")
    events = [json.loads(line) for line in (folder / "run/events.jsonl").read_text("utf-8").splitlines()]
    values = [each["values"]["val/accuracy"] for each in events if "val/accuracy" in each.get("values", {})]
    return float(values[-1])


def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All lists, seed by seed, so that the runs of a seed are a pair."""
    names = given.only or list(LISTS)

    def of_seed(seed: int) -> dict[str, float]:
        found = {}
        digits = folder / f"digits-{seed}"
        write_digits(digits, seed, given.images)
        for number, name in enumerate(names):
            begun = time.monotonic()
            found[name] = accuracy(spec(digits, seed, given.epochs, LISTS[name]), folder / f"{seed}-{number}")
            print(f"  seed {seed}  {name:<28} {found[name]:.4f}  ({time.monotonic() - begun:.0f} s)", flush=True)
        return found

    seeds = each_on_a_processor(of_seed, given.seeds)
    found = {name: [each[name] for each in seeds] for name in names}
    return {name: _summary(values, found.get("none", values)) for name, values in found.items()}


def _summary(values: list[float], without: list[float]) -> dict[str, Any]:
    gains = [value - other for value, other in zip(values, without, strict=True)]
    return {
        "accuracies": values,
        "mean": round(statistics.mean(values), 4),
        "deviation": round(statistics.stdev(values), 4) if len(values) > 1 else 0.0,
        "mean_gain": round(statistics.mean(gains), 4),
        "seeds_above": sum(gain > 0 for gain in gains),
    }


def main() -> None:
    """Train and write a result file."""
    parser = argparse.ArgumentParser(prog="benchmarks accuracy", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5, help="of each list, from 0")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--images", type=int, default=5, help="of each class, to learn from")
    parser.add_argument("--only", nargs="*", choices=LISTS, help="lists to train with")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trainyard-") as folder:
        found = measure(given, Path(folder))
    setting = {"seeds": given.seeds, "epochs": given.epochs, "images_per_class": given.images}
    result = {"question": "validation accuracy with and without", **setting, "lists": found}
    print(f"accuracy: written to {record.write('accuracy', result)}")


if __name__ == "__main__":
    main()
