"""Jobs on a folder of small images through a service: how soon after its POST does one make its first step?"""

import json
import os
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from app.cli.jobs import post_spec
from app.cli.service import Service
from benchmarks.start import warm_service

_POLL_S = 0.05
_LONGEST_S = 900.0


def first_steps_s(make: Callable[[Path], object], spec: Callable[[Path], dict[str, Any]], jobs: int) -> list[float]:
    """Of so many jobs after one that decodes the images. `make` writes them, `spec` says what is trained on them."""
    with warm_service() as service:
        folder = Path(os.environ["TRAINYARD_HOME"], "datasets", "small")
        make(folder)
        return [_first_step_s(service, spec(folder)) for _ in range(jobs + 1)][1:]


def _first_step_s(service: Service, spec: dict[str, Any]) -> float:
    """Seconds from before the POST to the time that the rank stamped; the job is then cancelled."""
    begun_s = time.time()
    job = post_spec(service, json.dumps(spec).encode(), str(uuid4()))["id"]
    while not (series := service.get(f"/v1/jobs/{job}/metrics", names="train/loss")["series"].get("train/loss")):
        _wait(service, job, begun_s)
    service.request("POST", f"/v1/jobs/{job}/cancel")
    while service.get(f"/v1/jobs/{job}")["state"] != "cancelled":
        _wait(service, job, begun_s)
    return datetime.fromisoformat(series["time"][0]).timestamp() - begun_s


def _wait(service: Service, job: str, begun_s: float) -> None:
    time.sleep(_POLL_S)
    failure = service.get(f"/v1/jobs/{job}")["failure"]
    if failure or time.time() > begun_s + _LONGEST_S:
        raise SystemExit(f"data: {job} made no step: {failure or 'it took too long'}")
