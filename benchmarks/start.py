"""How long from POST to the first optimizer step? Real service, broker, worker and ranks on this machine.

python -m benchmarks start [--jobs 7] [--processes 2]

The job is tiny (digits, resnet10t, 1 epoch), so the time is the system's: submit, nudge, claim, supervisor, imports,
plan, data, rendezvous, first step. The first step's time is the one that the rank stamped, on the clock of this host.
"""

import argparse
import json
import statistics
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from app.cli.demo import serving
from app.cli.jobs import post_spec
from app.cli.service import Service
from benchmarks import record

POLL_S = 0.2


def spec(processes: int) -> dict[str, Any]:
    """A job whose first step comes as soon as the system lets it."""
    return {
        "name": "start",
        "dataset": {"kind": "builtin", "name": "digits"},
        "model": {"kind": "timm", "name": "resnet10t"},
        "distributed": {"kind": "ddp", "processes": processes} if processes > 1 else {"kind": "single"},
        "training": {"epochs": 1, "batch_size": 64},
    }


def start_s(service: Service, processes: int) -> float:
    """Submit one job and wait for its end; seconds from before the POST to its first optimizer step."""
    before = time.time()
    job = post_spec(service, json.dumps(spec(processes)).encode(), str(uuid4()))
    while job["state"] not in ("succeeded", "failed", "cancelled"):
        time.sleep(POLL_S)
        job = service.get(f"/v1/jobs/{job['id']}")
    if job["state"] != "succeeded":
        raise SystemExit(f"start: {job['id']} {job['state']}: {job['failure']}")
    series = service.get(f"/v1/jobs/{job['id']}/metrics", names="train/loss", max_points=100_000)["series"][
        "train/loss"
    ]
    return datetime.fromisoformat(series["time"][0]).timestamp() - before


def measure(jobs: int, processes: int) -> dict[str, Any]:
    """The first job warms the file cache and is not counted."""
    with tempfile.TemporaryDirectory(prefix="trainyard-") as folder, serving(Path(folder) / "home"):
        service = Service()
        start_s(service, processes)
        times = [start_s(service, processes) for _ in range(jobs)]
    return {
        "question": "seconds from POST to the first optimizer step",
        "processes": processes,
        "jobs": jobs,
        "median_s": round(statistics.median(times), 3),
        "min_s": round(min(times), 3),
        "max_s": round(max(times), 3),
        "times_s": [round(each, 3) for each in times],
    }


def main() -> None:
    """Measure and write a result file."""
    parser = argparse.ArgumentParser(prog="benchmarks start", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=7, help="measured jobs, at least 5")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    result = measure(max(given.jobs, 5), given.processes)
    span = f"{result['min_s']:.2f} to {result['max_s']:.2f}"
    print(f"start: median {result['median_s']:.2f} s ({span}, {result['jobs']} jobs)")
    print(f"start: written to {record.write('start', result)}")


if __name__ == "__main__":
    main()
