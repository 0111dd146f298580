"""What does compression bring, counted, timed and trained? Beside the figures that were wanted.

python -m benchmarks compression [--rounds 7] [--seeds 5] [--epochs 12] [--only counts speed int8 accuracy]

Speed wants a quiet machine and accuracy an hour: parts measured apart are recorded apart. Kept activations have
a benchmark of their own: `saved_activations`.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.compression import accuracy, counts, int8, speed
from benchmarks.pipelines.tables import Target

PARTS = ("counts", "speed", "int8", "accuracy")
POINT = 0.01
"""One percentage point."""


def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Every part that was asked for."""
    measured = {
        "counts": counts.measure,
        "speed": lambda: speed.measure(given.rounds, given.batch),
        "int8": lambda: int8.measure(given.rounds, folder),
        "accuracy": lambda: accuracy.measure(given.seeds, given.epochs, folder),
    }
    return {part: measured[part]() for part in given.only}


def targets(found: dict[str, Any]) -> Iterator[Target]:
    """What is wanted beside what was found."""
    if counted := found.get("counts"):
        for name, each in counted.items():
            yield Target(f"{name}, beside the published figure", each["off"], each["allowed"], "of it", least=False)
    if timed := found.get("speed"):
        yield Target("ResNet-18 to depthwise separable: training step", timed["training"], 3.0, "times as fast")
        yield Target("the same: inference", timed["inference"], 2.5, "times as fast")
        yield Target("the same: parameters", timed["parameters"], 5.0, "times fewer")
    if rounded := found.get("int8"):
        yield Target("int8, ResNet-18 in ONNX Runtime: bytes", rounded["bytes"], 3.8, "times fewer")
    if trained := found.get("accuracy"):
        for question, (gain, least) in accuracy.gains(trained).items():
            yield Target(question, gain, least, "")


def table(found: dict[str, Any]) -> str:
    """For people."""
    rows = [each.row() for each in targets(found)]
    return "\n".join(["| question | answer | target | |", "|---|---|---|---|", *rows])


def main() -> None:
    """Print a table and write the result file, with the table beside it."""
    parser = argparse.ArgumentParser(prog="benchmarks compression", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="counted rounds, in each of which all take a turn")
    parser.add_argument("--batch", type=int, default=16, help="images of 224 x 224 in a step")
    parser.add_argument("--seeds", type=int, default=5, help="of each training, from 0")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trainyard-") as folder:
        found = measure(given, Path(folder))
    print(table(found))
    name = "compression" if set(given.only) == set(PARTS) else "-".join(["compression", *given.only])
    path = record.write(name, {"settings": vars(given), **found})
    path.with_suffix(".md").write_text(f"# Compression\n\nMade by `make bench ARGS=compression`.\n\n{table(found)}\n")
    print(f"compression: written to {path}")


if __name__ == "__main__":
    main()
