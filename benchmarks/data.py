"""How fast are augmented images made from JPEG files, the first time and later, and how soon does a large set start?

python -m benchmarks data [--rounds 5] [--small 200000] [--peers .venv-peers/bin/python] [--quick]

Ours first checks and decodes every file and keeps the pixels; what is made later is read from there. The peer decodes
each file each time. A large set of small images is trained on twice: the second run finds its pixels kept.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.pipelines import photographs, rounds, starts, tables, warm_starts

FIRST, LATER = "trainyard, first epoch", "trainyard, later epochs"
PEERS = {
    "albumentations + cv2, as documented": ("with_albumentations", "normalized"),
    "albumentations + cv2, normalised by the batch": ("with_albumentations", "uint8"),
}
FEW = 500
"""Images of the set whose run says what memory the model takes."""


def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Rates from files, then the start on a large set."""
    source = folder / "photographs"
    size_bytes = photographs.save_files(source, given.images)
    commands = {
        FIRST: rounds.ours("ours_from_files", str(source), "first"),
        LATER: rounds.ours("ours_from_files", str(source), "later"),
    }
    if given.peers.exists():
        commands |= {name: rounds.peer(given.peers, peer[0], str(source), *peer[1:]) for name, peer in PEERS.items()}
    else:
        print(f"  {given.peers} is not there: `make bench-peers ARGS=data` installs the peers")
    with rounds.contenders(commands) as contenders:
        found: dict[str, Any] = {"speed": rounds.whole_sets(contenders, given.rounds, given.images)}
        found["times_as_fast"] = rounds.ratios(FIRST, contenders)
        later = next(each for each in contenders if each.name == LATER)
        found["later_to_first"] = rounds.ratios(LATER, [later, contenders[0]])[FIRST]
    return found | {"file_bytes": round(size_bytes / given.images), "start": start(given, folder)}


def start(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Runs on a large and on a small set, each after one that fills the cache; then jobs of a service."""
    found = {}
    for name, count in (("few", min(FEW, given.small)), ("many", given.small)):
        source = folder / name
        photographs.save_files(source, count, (32, 32))
        filling = starts.begin(source, folder / f"{name}-filling", folder / "cache", 0.0)
        runs = [
            starts.begin(source, folder / f"{name}-{number}", folder / "cache", given.watch)
            for number in range(given.starts)
        ]
        found[f"{name}, first run, s"] = rounds.rounded(filling.first_step_s)
        for what in ("first_step_s", "private_mb", "resident_mb"):
            found[f"{name}, {what}"] = rounds.rounded(statistics.median(getattr(each, what) for each in runs))
    jobs_s = warm_starts.first_steps_s(
        lambda source: photographs.save_files(source, given.small, (32, 32)), starts.spec, max(given.starts, 1)
    )
    found["many, first_step_of_a_job_s"] = rounds.rounded(statistics.median(jobs_s))
    return {"small images": given.small} | found


def targets(result: dict[str, Any]) -> list[tables.Target]:
    """What is wanted beside what was found."""
    rows = [tables.Target("later epochs, to the first", result["later_to_first"], 3.0, "times as fast")]
    peers = [ratio for name, ratio in result["times_as_fast"].items() if name != LATER]
    if peers:
        rows.insert(0, tables.Target("first epoch, to albumentations + cv2", min(peers), 1.2, "times as fast"))
    found, many = result["start"], f"{result['start']['small images']:,} small images, kept"
    growth = found["many, private_mb"] - found["few, private_mb"]
    rows.append(
        tables.Target(
            f"{many}: POST of a job to its first step", found["many, first_step_of_a_job_s"], 3.0, "s", least=False
        )
    )
    rows.append(tables.Target(f"{many}: memory above a small set's", round(growth, 1), 300.0, "MB", least=False))
    return rows


def main() -> None:
    """Measure and write a result file and its table."""
    parser = argparse.ArgumentParser(prog="benchmarks data", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=1500, help="JPEG files of 375 x 500")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds of the whole set")
    parser.add_argument("--small", type=int, default=200_000, help="files of 32 x 32 in the large set")
    parser.add_argument("--starts", type=int, default=5, help="runs on each set whose pixels are kept, and jobs")
    parser.add_argument("--watch", type=float, default=10.0, help="seconds of training whose memory is watched")
    parser.add_argument(
        "--peers", type=Path, default=Path(".venv-peers/bin/python"), help="a Python that has the peers"
    )
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="where the files and the cache lie")
    parser.add_argument("--quick", action="store_true", help="to see that it runs; the figures are worth nothing")
    given = parser.parse_args()
    if given.quick:
        given.images, given.rounds, given.small, given.starts, given.watch = 20, 1, 40, 1, 0.0
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="trainyard-") as folder:
        result = {"question": "augmented images from files", "settings": tables.settings(given)}
        result |= measure(given, Path(folder))
    if given.quick:
        print(json.dumps(result, indent=2))
        return
    path = record.write("data", result)
    text = tables.markdown(path, "Data from files", "make bench ARGS=data", targets(result))
    path.with_suffix(".md").write_text(text)
    print(text)
    print(f"data: written to {path}")


if __name__ == "__main__":
    main()
