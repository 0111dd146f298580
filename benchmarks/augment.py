"""How fast are augmented images made from memory, beside what one would use instead, and how exact are they?

python -m benchmarks augment [--rounds 7] [--seconds 3] [--peers .venv-peers/bin/python] [--quick]

benchmarks/pipelines/ describes the policy and the contenders. `make bench-peers ARGS=augment` installs the peers.
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.pipelines import exactness, gpu, photographs, rounds, tables

OURS = "trainyard"
PEERS = {
    "albumentations, as documented": ("with_albumentations", "normalized"),
    "albumentations, normalised by the batch": ("with_albumentations", "uint8"),
    "the article's order": ("step_by_step",),
    "torchvision v2, as documented": ("with_torchvision", "normalized"),
    "torchvision v2, normalised by the batch": ("with_torchvision", "uint8"),
    "Kornia, by the batch": ("with_kornia", "batch"),
    "Kornia, by the image": ("with_kornia", "image"),
}
"""The contender's module and arguments."""
TARGETS = {"albumentations": 3.5, "the article's order": 6.0, "torchvision v2": 5.0, "Kornia": 5.0}
"""How many times as fast as the fastest form of each."""
TARGET_DB = 6.0


def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Speed, exactness, and what a GPU is fed with where there is one."""
    source = folder / "photographs.npy"
    photographs.save_array(source, given.images)
    commands = {OURS: rounds.ours("ours", str(source))}
    if given.peers.exists():
        commands |= {name: rounds.peer(given.peers, peer[0], str(source), *peer[1:]) for name, peer in PEERS.items()}
    else:
        print(f"  {given.peers} is not there: `make bench-peers ARGS=augment` installs the peers")
    with rounds.contenders(commands) as contenders:
        found = {"speed": rounds.interleaved(contenders, given.rounds, given.seconds)}
        found["times_as_fast"] = rounds.ratios(OURS, contenders)
    fed = gpu.measure(str(source), os.cpu_count() or 1)
    return found | {"exactness": exactness.measure(given.draws), "gpu": fed}


def targets(result: dict[str, Any]) -> list[tables.Target]:
    """What is wanted beside what was found."""
    rows = []
    for peer, wanted in TARGETS.items():
        found = [ratio for name, ratio in result["times_as_fast"].items() if name.startswith(peer)]
        if found:
            rows.append(tables.Target(f"from memory, to {peer}", min(found), wanted, "times as fast"))
    gain = result["exactness"]["gain_db"]
    rows.append(tables.Target("PSNR to the exact image, above step by step", gain, TARGET_DB, "dB"))
    return rows


def main() -> None:
    """Measure and write a result file and its table."""
    parser = argparse.ArgumentParser(prog="benchmarks augment", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=256, help="different photographs in memory")
    parser.add_argument("--rounds", type=int, default=7, help="counted rounds, at least 5 for a figure")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each contender in each round")
    parser.add_argument("--draws", type=int, default=40, help="images whose exactness is measured")
    parser.add_argument("--peers", type=Path, default=Path(".venv-peers/bin/python"), help="a Python that has them")
    parser.add_argument("--quick", action="store_true", help="to see that it runs; the figures are worth nothing")
    given = parser.parse_args()
    if given.quick:
        given.images, given.rounds, given.seconds, given.draws = 16, 1, 0.1, 2
    with tempfile.TemporaryDirectory(prefix="trainyard-") as folder:
        result = {"question": "augmented images from memory", "settings": tables.settings(given)}
        result |= measure(given, Path(folder))
    path = record.write("augment", result)
    text = tables.markdown(path, "Augmentation from memory", "make bench ARGS=augment", targets(result))
    path.with_suffix(".md").write_text(text)
    print(text)
    print(f"augment: written to {path}")


if __name__ == "__main__":
    main()
