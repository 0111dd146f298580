"""How long from the SIGKILL of a rank until the job trains again? Real service, ranks and signals, on a warm worker.

python -m benchmarks recovery [--kills 5] [--processes 2] [--quick]

A DDP job of digits on resnet10t saves at every epoch. When an attempt has saved, one of its ranks is killed, and the
time runs until the first step of the next attempt, which its rank stamped on the clock of this host. So it holds the
notice of the death, the end of the other ranks, the pause before another attempt, claim, fork, checkpoint, first step.
"""

import argparse
import json
import os
import random
import signal
import statistics
import time
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from app.cli.jobs import post_spec
from app.cli.service import Service
from benchmarks import record
from benchmarks.start import POLL_S, spec, warm_service
from worker import processes, records

MOST_S = 3.0
"""Target: the median."""


def long_job(processes: int, kills: int) -> dict[str, Any]:
    """It would train for hours, so each kill finds it training."""
    training = {"epochs": 10_000, "batch_size": 64}
    return spec(processes, "warm", "resnet10t") | {"training": training, "limits": {"max_attempts": kills + 2}}


def ranks() -> list[int]:
    """The processes under the launcher of the one attempt that runs."""
    home = Path(os.environ["TRAINYARD_HOME"])
    found = [records.read(path) for path in (home / "run" / "attempts").glob("job_*.json")]
    launchers = {each.launcher.pid for each in found if each and each.launcher}
    return [each.pid for each in processes.every_process() if each.alive and each.parent in launchers]


def until_saved(service: Service, job: str, attempt: int) -> None:
    """Wait until this attempt has trained on and saved."""
    while True:
        shown = service.get(f"/v1/jobs/{job}")
        if shown["state"] in ("succeeded", "failed", "cancelled"):
            raise SystemExit(f"recovery: {job} {shown['state']}: {shown['failure']}")
        saved = [each for each in service.get(f"/v1/jobs/{job}/checkpoints")["items"] if each["attempt"] == attempt]
        if shown["attempt"] == attempt and saved:
            return
        time.sleep(POLL_S)


def first_step_after(service: Service, job: str, moment: float) -> float:
    """When the first step behind `moment` was made, seconds of the epoch."""
    while True:
        metrics = service.get(f"/v1/jobs/{job}/metrics", names="train/loss", max_points=100_000)
        times = [datetime.fromisoformat(each).timestamp() for each in metrics["series"]["train/loss"]["time"]]
        later = [each for each in times if each > moment]
        if later:
            return min(later)
        time.sleep(POLL_S)


def kill_one(service: Service, job: str, attempt: int) -> float:
    """Seconds from the kill of a rank of this attempt to a step of the next."""
    until_saved(service, job, attempt)
    victim = random.choice(ranks())
    os.kill(victim, signal.SIGKILL)
    killed = time.time()
    while service.get(f"/v1/jobs/{job}")["attempt"] == attempt:
        time.sleep(POLL_S)
    return first_step_after(service, job, killed + 0.1) - killed  # a step that was under way may end behind the kill


def measure(kills: int, processes: int) -> dict[str, Any]:
    """One job, killed again and again; the first time warms the file cache and is not counted."""
    with warm_service() as service:
        body = json.dumps(long_job(processes, kills)).encode()
        job = post_spec(service, body, str(uuid4()))["id"]
        times = [kill_one(service, job, attempt) for attempt in range(1, kills + 2)][1:]
        service.request("POST", f"/v1/jobs/{job}/cancel")
    return {
        "question": "seconds from the SIGKILL of a rank to the next step",
        "processes": processes,
        "median_s": round(statistics.median(times), 3),
        "times_s": [round(each, 3) for each in times],
    }


def main() -> None:
    """Measure and write a result file."""
    parser = argparse.ArgumentParser(prog="benchmarks recovery", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=5, help="measured kills, at least 5")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="one kill, no file")
    given = parser.parse_args()
    result = measure(1 if given.quick else max(given.kills, 5), given.processes)
    print(f"recovery: median {result['median_s']:.2f} s (the target is {MOST_S:g}), each: {result['times_s']}")
    if not given.quick:
        print(f"recovery: written to {record.write('recovery', result)}")


if __name__ == "__main__":
    main()
