"""Real folders of bad images through the service, and a job that dies again and again."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.place import FINAL, Api, Place, spec, wait_for
from tests.support.bad_images import write_refused, write_usable
from tests.support.image_sets import encoded, picture

pytestmark = pytest.mark.timeout(600)
GOOD = 2_000
"""Small images beside the bad ones, which are then fewer than 1 in 100."""
WAIT_S = 300.0


@pytest.fixture(scope="module")
def own(new_place: Callable[..., Place]) -> Iterator[Place]:
    made = new_place(TRAINYARD_LEASE_S="60", TRAINYARD_HEARTBEAT_S="5")  # no attempt here is lost for want of a beat
    make_sets(made.home / "datasets")
    made.start()
    yield made
    made.stop()


def make_sets(root: Path) -> None:
    """`mostly_good` is within the tolerance, `mostly_bad` beyond it."""
    small = [encoded(picture(number, 8, 8), ".png") for number in range(10)]
    for name, good in (("mostly_good", GOOD), ("mostly_bad", 20)):
        for label in ("cat", "dog"):
            folder = root / name / label
            folder.mkdir(parents=True)
            for number in range(good // 2):
                (folder / f"{number}.png").write_bytes(small[number % 10])
        write_usable(root / name / "dog")
        write_refused(root / name / "cat")


def imported(api: Api, path: str) -> dict[str, Any]:
    answer = api.call("POST", "/v1/datasets", json={"name": path, "source": {"kind": "folder", "path": path}})
    assert answer.status_code == 201, answer.text
    shown: dict[str, Any] = {}

    def is_over() -> bool:
        shown.update(api.get(f"/v1/datasets/{answer.json()['id']}"))
        return shown["state"] != "importing"

    wait_for(is_over, WAIT_S)
    return shown


def final(api: Api, job: str) -> dict[str, Any]:
    return api.job_when(job, lambda shown: shown["state"] in FINAL, timeout_s=WAIT_S)


def test_bad_images_are_named_in_the_record_and_in_the_job_and_the_rest_is_trained_on(
    own: Place, tmp_path: Path
) -> None:
    api = Api(own)
    (tmp_path / "set").mkdir()
    reasons = write_refused(tmp_path / "set")

    dataset = imported(api, "mostly_good")

    assert dataset["state"] == "ready", dataset["failure"]
    facts = dataset["facts"]
    assert {each["name"]: each["reason"] for each in facts["refused"]} == {f"cat/{n}": r for n, r in reasons.items()}
    assert facts["images"] == GOOD + len(write_usable(tmp_path))

    augment = [{"kind": "resize", "size": [16, 16]}]
    job = api.submit(
        spec(1, dataset={"kind": "registered", "id": dataset["id"]}, augment=augment, compression=[])
        | {"training": {"epochs": 1, "batch_size": 256}}
    )
    done = final(api, job)
    assert done["state"] == "succeeded", done["failure"]
    events = api.get(f"/v1/jobs/{job}/events", params={"limit": 1000})["items"]
    (note,) = [event["data"] for event in events if event["data"].get("code") == "files_skipped"]
    assert f"{len(reasons)} files" in note["message"]
    assert set(note["data"]["files"]) == {f"cat/{name}: {reason}" for name, reason in reasons.items()}


def test_too_many_bad_images_refuse_the_set_and_the_job_and_the_service_lives(own: Place) -> None:
    api = Api(own)
    dataset = imported(api, "mostly_bad")
    assert (dataset["state"], dataset["failure"]["code"]) == ("failed", "bad_dataset")
    assert "cannot be used (at most 0.01 of all may be)" in dataset["failure"]["message"]

    folder = {"kind": "folder", "path": str(own.home / "datasets" / "mostly_bad")}
    done = final(api, api.submit(spec(1, dataset=folder)))
    assert (done["state"], done["failure"]["code"], done["attempt"]) == ("failed", "bad_dataset", 1)
    assert api.get("/readyz")["status"] == "ok"


def test_a_job_that_dies_three_times_without_a_checkpoint_ends_as_a_crash_loop(own: Place) -> None:
    """Its launcher is killed in each attempt before the first checkpoint; the backoff between them is real."""
    api = Api(own)
    job = api.submit(spec(500))
    for attempt in (1, 2, 3):
        api.job_when(job, lambda shown, n=attempt: shown["attempt"] == n and shown["state"] == "running", WAIT_S)
        wait_for(lambda: launchers(own, job), WAIT_S)
        os.kill(launchers(own, job)[0], signal.SIGKILL)
        ended = api.job_when(job, lambda shown: shown["state"] in {"queued", "failed"}, WAIT_S)
        assert (ended["state"] == "failed") == (attempt == 3)
    assert ended["failure"]["code"] == "crash_loop"
    assert "killed by SIGKILL" in ended["failure"]["message"]
    assert [each["failure"]["code"] for each in api.get(f"/v1/jobs/{job}/attempts")["items"]] == ["crashed"] * 3


def launchers(place: Place, job: str) -> list[int]:
    """The oldest training process of a job; ranks have its command line too."""
    return sorted(pid for pid, line in place.processes().items() if job in line and "worker.training" in line)
