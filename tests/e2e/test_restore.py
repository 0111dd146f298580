"""Back up while it runs, lose the home, restore: the procedure of docs/operations.md, step by step."""

import hashlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.place import JOB_S, Api, Place, spec, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PATIENCE_S = 3 * JOB_S
EPOCHS = 8


def losses(api: Api, job: str) -> dict[str, Any]:
    series = api.get(f"/v1/jobs/{job}/metrics", params={"max_points": 100_000, "names": "train/loss"})["series"]
    return dict(series["train/loss"])


def check_artifacts(api: Api, job: str) -> int:
    found = api.get(f"/v1/jobs/{job}/artifacts")["items"]
    for each in found:
        content = api.call("GET", each["url"]).content
        assert (len(content), hashlib.sha256(content).hexdigest()) == (each["size_bytes"], each["sha256"]), each["name"]
    return len(found)


def back_up(place: Place, folder: Path) -> None:
    """Database first, then storage: what the database names is then in the copy of the storage."""
    folder.mkdir()
    place.command("db", "backup", str(folder / "trainyard.db"), check=True)
    # cp says what vanished under it: checkpoints that a running job has replaced.
    subprocess.run(["cp", "-a", str(place.home / "storage"), str(folder / "storage")], check=False)


def restore(place: Place, folder: Path) -> None:
    place.home.mkdir()
    shutil.copy(folder / "trainyard.db", place.home / "trainyard.db")
    subprocess.run(["cp", "-a", str(folder / "storage"), str(place.home / "storage")], check=True)


def test_what_was_finished_is_found_again_and_what_ran_ends_rightly(
    new_place: Callable[[], Place], tmp_path: Path
) -> None:
    place = new_place()
    place.start()
    api = Api(place)
    finished = api.submit(spec(1))
    assert api.job_when(finished, lambda job: job["state"] == "succeeded", PATIENCE_S)
    before = api.get(f"/v1/jobs/{finished}")
    curve = losses(api, finished)
    running = api.submit(spec(EPOCHS))
    waiting = api.submit(spec(1))
    wait_for(lambda: api.get(f"/v1/jobs/{running}/checkpoints")["items"], PATIENCE_S)

    back_up(place, tmp_path / "backup")
    later = api.submit(spec(1))
    assert api.get(f"/v1/jobs/{running}")["state"] == "running"
    place.clean()
    shutil.rmtree(place.home)

    restore(place, tmp_path / "backup")
    place.start()

    assert api.get(f"/v1/jobs/{finished}") == before
    assert losses(api, finished) == curve
    assert check_artifacts(api, finished) >= 3
    for job in (running, waiting):
        assert api.job_when(job, lambda shown: shown["state"] == "succeeded", PATIENCE_S)
        assert check_artifacts(api, job) >= 3
    states = [attempt["state"] for attempt in api.get(f"/v1/jobs/{running}/attempts")["items"]]
    assert states == ["lost", "succeeded"]
    per_epoch = len(losses(api, waiting)["step"])
    assert losses(api, running)["step"] == list(range(1, EPOCHS * per_epoch + 1))
    assert api.call("GET", f"/v1/jobs/{later}").status_code == 404
