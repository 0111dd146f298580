"""The same network on the same data with both libraries: do they end alike? `make bench ARGS=frameworks`.

MobileNetV2 of width 0.35 on digits, from the same random weights (Keras's), with the same order of samples and the same
augmented pixels; five seeds each, the two libraries of a seed on the same processor. timm's own initial weights are
left out: from them the network needs more epochs, which tells nothing of the libraries. Two devices
against one, step by step, are in `tests/numerics/test_mirrored.py`.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.pipelines.seeds import each_on_a_processor

LIBRARIES = ("torch", "tensorflow")
EPOCHS = 20
SIZE = 64
"""Of the images: at 32 the network ends in maps of 1x1, and hardly learns."""
LIMIT = 0.01
"""Of the mean accuracies' difference."""


def spec(library: str, seed: int, **changes: Any) -> dict[str, Any]:
    """One of the two jobs."""
    keras = {"kind": "keras_application", "name": "mobilenet_v2", "width": 0.35}
    training = {
        "epochs": EPOCHS,
        "batch_size": 64,
        "seed": seed,
        "optimizer": {"kind": "adamw", "learning_rate": 0.003},
        "schedule": {"kind": "cosine", "warmup_epochs": 1},
        "precision": "fp32",
    }
    return {
        "dataset": {"kind": "builtin", "name": "digits"},
        "model": keras if library == "tensorflow" else {"kind": "timm", "name": "mobilenetv2_035"},
        "augment": [{"kind": "random_crop", "size": [SIZE, SIZE], "scale": [0.7, 1.0]}],
        "distributed": {"kind": "mirrored" if library == "tensorflow" else "ddp", "processes": 2},
        "training": training | changes,
    }


def events(asked: dict[str, Any], place: Path) -> list[dict[str, Any]]:
    """Of a run by itself."""
    file = written(asked, place.with_suffix(".json"))
    subprocess.run([sys.executable, "-m", "worker.training", str(file), str(place)], check=True)
    return [json.loads(line) for line in (place / "events.jsonl").read_text().splitlines()]


def started_alike(asked: dict[str, Any], place: Path) -> dict[str, Any]:
    """An order for this job that begins with the weights that Keras draws for the same seed."""
    weights, folder = place.with_suffix(".npz"), place.with_name(f"{place.name}-begins")
    specs = {"keras": spec("tensorflow", asked["training"]["seed"]), "torch": asked}
    for library, own in specs.items():
        file = written(own, place.with_name(f"{place.name}-{library}.json"))
        into = [str(folder)] if library == "torch" else []
        command = [sys.executable, "-m", "benchmarks.pipelines.same_beginning", library, str(file), str(weights), *into]
        subprocess.run(command, check=True)
    paths = {"run_dir": str(place), "model": str(folder)}
    return {"spec": asked | {"model": {"kind": "checkpoint", "job": "job_0"}}, "paths": paths, "devices": [0, 1]}


def written(content: dict[str, Any], file: Path) -> Path:
    """A file with this in it."""
    file.write_text(json.dumps(content))
    return file


def accuracy(library: str, seed: int, folder: Path, epochs: int = EPOCHS) -> float:
    """At the end of one job."""
    place, asked = folder / f"{library}-{seed}", spec(library, seed, epochs=epochs)
    last = events(started_alike(asked, place) if library == "torch" else asked, place)[-1]
    return float(last["report"]["after"]["accuracy"])


def measure(seeds: int, epochs: int, folder: Path) -> dict[str, list[float]]:
    """The accuracies of each library, seed by seed."""

    def of_seed(seed: int) -> dict[str, float]:
        found = {library: accuracy(library, seed, folder, epochs) for library in LIBRARIES}
        print(f"  seed {seed}  {found}", flush=True)
        return found

    told = each_on_a_processor(of_seed, seeds)
    return {library: [each[library] for each in told] for library in LIBRARIES}


def main() -> None:
    """Measure, show and keep."""
    parser = argparse.ArgumentParser(prog="benchmarks frameworks", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5, help="of each library, from 0")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of each job")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found = measure(given.seeds, given.epochs, Path(place))
    means = {library: statistics.fmean(each) for library, each in found.items()}
    apart = abs(means["torch"] - means["tensorflow"])
    print(f"means {means}: {apart:.4f} apart, at most {LIMIT} wanted: {'met' if apart <= LIMIT else 'MISSED'}")
    tensorflow = version(packages_distributions()["tensorflow"][0])
    how = {"tensorflow": tensorflow, "epochs": given.epochs, "image_size": SIZE}
    record.write("frameworks", how | {"accuracies": found, "means": means, "apart": apart})


if __name__ == "__main__":
    main()
