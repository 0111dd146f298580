"""How long from POST to the first optimizer step, warm and cold, beside torchrun and Ray Jobs? Real service and ranks.

python -m benchmarks start [--jobs 5] [--processes 2] [--row 10] [--network test_resnet] [--quick]

The job is tiny (digits, timm's smallest ResNet, 1 epoch), so the time is the system's: submit, nudge, claim,
supervisor, imports, plan, data, rendezvous, first step. The first step's time is the one that the rank stamped, on the
clock of this host. torchrun, and Ray where scripts/peers.sh has installed it, start a script that does the same with
random images. All take turns, so that what else the machine does befalls all alike. Then jobs follow one another, warm
and cold.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.request import urlopen
from uuid import uuid4

from app.cli.demo import serving
from app.cli.jobs import post_spec
from app.cli.service import Service
from benchmarks import record

POLL_S = 0.02
WARM_WAIT_S = 300.0
FOLDER = Path(__file__).parent
SCRIPT = FOLDER / "_ddp_script.py"
RAY = FOLDER.parent / ".venv-peers" / "bin" / "ray"
RAY_ADDRESS = "http://127.0.0.1:8265"
WARM_S, TIMES_TORCHRUN, TIMES_COLD = 0.7, 8.0, 8.0
"""Targets: the median of a warm start, and how many times as long the others take."""

Route = Callable[[], float]


def spec(processes: int, start: str, network: str) -> dict[str, Any]:
    """A job whose first step comes as soon as the system lets it."""
    return {
        "name": "start",
        "dataset": {"kind": "builtin", "name": "digits"},
        "model": {"kind": "timm", "name": network},
        "distributed": {"kind": "ddp", "processes": processes} if processes > 1 else {"kind": "single"},
        "training": {"epochs": 1, "batch_size": 64},
        "start": start,
    }


def run_job(service: Service, body: dict[str, Any]) -> str:
    """Submit one job and wait for its end; its id."""
    job = post_spec(service, json.dumps(body).encode(), str(uuid4()))
    while job["state"] not in ("succeeded", "failed", "cancelled"):
        time.sleep(POLL_S)
        job = service.get(f"/v1/jobs/{job['id']}")
    if job["state"] != "succeeded":
        raise SystemExit(f"start: {job['id']} {job['state']}: {job['failure']}")
    return str(job["id"])


def start_s(service: Service, body: dict[str, Any]) -> float:
    """Seconds from before the POST to the first optimizer step."""
    before = time.time()
    job = run_job(service, body)
    series = service.get(f"/v1/jobs/{job}/metrics", names="train/loss", max_points=100_000)["series"]["train/loss"]
    return datetime.fromisoformat(series["time"][0]).timestamp() - before


def script_s(command: list[str], network: str) -> float:
    """Seconds from before `command`, which starts the script, to the first optimizer step of its rank 0."""
    with tempfile.TemporaryDirectory(prefix="trainyard-") as folder:
        out = Path(folder) / "first_step"
        before = time.time()
        done = subprocess.run([*command, str(SCRIPT), str(out), network], check=False, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"start: {command[:3]} failed:\n{done.stdout[-1000:]}{done.stderr[-3000:]}")
        return float(out.read_text()) - before


def torchrun(processes: int) -> list[str]:
    """What the script is started with."""
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]


@contextmanager
def ray() -> Iterator[list[str]]:
    """A Ray head on this machine, and the command that submits a job to it and waits."""
    command = [RAY, "start", "--head", "--block", "--dashboard-port=8265", "--disable-usage-stats"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as head:
        try:
            while not _answers(f"{RAY_ADDRESS}/api/version"):
                if head.poll() is not None:
                    raise SystemExit("start: Ray does not start")
                time.sleep(POLL_S)
            yield [str(RAY), "job", "submit", "--address", RAY_ADDRESS, "--"]
        finally:
            head.terminate()  # this head alone; `ray stop` would end every Ray of the machine


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5):
            return True
    except OSError:
        return False


@contextmanager
def warm_service() -> Iterator[Service]:
    """A service of its own, whose worker has its warm parent."""
    with tempfile.TemporaryDirectory(prefix="trainyard-") as folder, serving(Path(folder) / "home"):
        deadline = time.monotonic() + WARM_WAIT_S
        while not list((Path(folder) / "home" / "run" / "warm").glob("*.sock")):
            if time.monotonic() > deadline:
                raise SystemExit("start: the worker gets no warm parent")
            time.sleep(POLL_S)
        yield Service()


def in_turns(routes: dict[str, Route], rounds: int) -> dict[str, list[float]]:
    """The times of each route, one of each in every round. A first round warms the file cache and is not counted."""
    for route in routes.values():
        route()
    times: dict[str, list[float]] = {name: [] for name in routes}
    for _ in range(rounds):
        for name, route in routes.items():
            times[name].append(route())
    return times


def row_s(service: Service, jobs: int, body: dict[str, Any]) -> float:
    """Seconds for so many jobs, each submitted when the one before is over."""
    before = time.monotonic()
    for _ in range(jobs):
        run_job(service, body)
    return time.monotonic() - before


def measure(jobs: int, processes: int, row: int, network: str) -> dict[str, Any]:
    """Starts in turns, then rows of jobs."""
    with ExitStack() as stack:
        service = stack.enter_context(warm_service())
        routes: dict[str, Route] = {
            "warm": lambda: start_s(service, spec(processes, "warm", network)),
            "cold": lambda: start_s(service, spec(processes, "cold", network)),
            "torchrun": lambda: script_s(torchrun(processes), network),
        }
        if RAY.exists():
            submit = stack.enter_context(ray())
            routes["ray"] = lambda: script_s([*submit, *torchrun(processes)], network)
        times = in_turns(routes, jobs)
        rows = {start: round(row_s(service, row, spec(1, start, network)), 3) for start in ("warm", "cold")}
    return {
        "question": "seconds from POST to the first optimizer step",
        "network": network,
        "processes": processes,
        "jobs": jobs,
        "routes": {name: _summary(each) for name, each in times.items()},
        "jobs_in_a_row": {"jobs": row, "seconds": rows, "cold_by_warm": round(rows["cold"] / rows["warm"], 2)},
    }


def _summary(times: list[float]) -> dict[str, Any]:
    return {
        "median_s": round(statistics.median(times), 3),
        "min_s": round(min(times), 3),
        "max_s": round(max(times), 3),
        "times_s": [round(each, 3) for each in times],
    }


def tell(result: dict[str, Any]) -> None:
    """One line a route, and what was aimed at."""
    warm_s = result["routes"]["warm"]["median_s"]
    print(f"start: the target is {WARM_S} s warm, and {TIMES_TORCHRUN:g} times as long for torchrun and Ray")
    for name, each in result["routes"].items():
        span = f"{each['min_s']:.2f} to {each['max_s']:.2f}"
        times = f"{each['median_s'] / warm_s:.1f} times as long as warm"
        print(f"start: {name:<9} median {each['median_s']:.2f} s ({span}), {times}")
    row = result["jobs_in_a_row"]
    seconds = row["seconds"]
    print(
        f"start: {row['jobs']} jobs in a row: {seconds['warm']:.1f} s warm, {seconds['cold']:.1f} s cold, "
        f"{row['cold_by_warm']:.1f} times as long (the target is {TIMES_COLD:g})"
    )


def main() -> None:
    """Measure and write a result file."""
    parser = argparse.ArgumentParser(prog="benchmarks start", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=5, help="measured starts of each kind, at least 5")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--row", type=int, default=10, help="jobs that follow one another")
    parser.add_argument("--network", default="test_resnet", help="of the jobs and of the script")
    parser.add_argument("--quick", action="store_true", help="one start of each, two jobs in a row, no file")
    given = parser.parse_args()
    jobs, row = (1, 2) if given.quick else (max(given.jobs, 5), given.row)
    result = measure(jobs, given.processes, row, given.network)
    tell(result)
    if not given.quick:
        print(f"start: written to {record.write('start', result)}")


if __name__ == "__main__":
    main()
