"""A restored database, and workers that live on: what ran then goes on or ends, nothing mixes."""

import json
import signal

import pytest

from app.store.backup import back_up
from tests.worker.test_with_the_service import API, WORKER, Yard


@pytest.fixture
def yard(home, broker, tmp_path, eventually):
    (home / "worker_token").unlink()  # the service makes one
    made = Yard(home, "until_told", tmp_path / "log")
    made.begin("api", API)
    eventually(made.answers, "the service answers")
    yield made
    made.clean()


@pytest.fixture
def restored(yard, tmp_path, eventually):
    """Puts the backup in the place of the database, as docs/operations.md says."""

    def restore(copy):
        yard.end("api", signal.SIGTERM)
        for name in ("trainyard.db", "trainyard.db-wal", "trainyard.db-shm"):
            (yard.home / name).unlink(missing_ok=True)
        copy.rename(yard.home / "trainyard.db")
        yard.begin("api", API)
        eventually(yard.answers, "the service is back")

    return restore


def steps(yard, job_id):
    """Those that the service holds."""
    return yard.call("GET", f"/v1/jobs/{job_id}/metrics").json()["series"]["train/loss"]["step"]


def written(yard, job_id):
    """The steps in the report file of the first attempt."""
    lines = (yard.run_dir(job_id) / "events.jsonl").read_bytes().splitlines()
    return [event["step"] for event in map(json.loads, lines) if event["type"] == "metrics"]


def attempts(yard, job_id):
    items = yard.call("GET", f"/v1/jobs/{job_id}/attempts").json()["items"]
    return [(each["attempt"], each["state"]) for each in items]


def test_an_attempt_that_the_backup_knows_goes_on_and_reports_again_what_is_missing(
    yard, restored, tmp_path, eventually
):
    yard.begin("worker", WORKER)
    job_id = yard.submit()
    eventually(lambda: yard.job(job_id)["latest_metrics"], "the first events are stored")
    back_up(yard.home / "trainyard.db", tmp_path / "copy.db")
    held = len(written(yard, job_id))
    eventually(lambda: len(steps(yard, job_id)) > held + 20, "the service holds more than the backup")

    restored(tmp_path / "copy.db")
    (yard.run_dir(job_id) / "go").touch()

    eventually(lambda: yard.job(job_id)["state"] in ("succeeded", "failed"), "the job is over")
    assert attempts(yard, job_id) == [(1, "succeeded")]
    assert steps(yard, job_id) == written(yard, job_id)


@pytest.mark.slow  # on a busy machine the new claim may come before the old attempt's end, and waits for its lease
def test_an_attempt_that_the_backup_does_not_know_ends_and_its_number_is_given_again(
    yard, restored, tmp_path, eventually
):
    job_id = yard.submit()
    back_up(yard.home / "trainyard.db", tmp_path / "copy.db")
    yard.begin("worker", WORKER)
    eventually(lambda: yard.job(job_id)["latest_metrics"], "the attempt reports")
    first = int((yard.run_dir(job_id) / "launcher").read_text())

    restored(tmp_path / "copy.db")

    def begun_anew():
        told = yard.run_dir(job_id) / "launcher"
        return told.exists() and int(told.read_text()) != first

    eventually(begun_anew, "the same number runs again", timeout_s=60)
    (yard.run_dir(job_id) / "go").touch()
    eventually(lambda: yard.job(job_id)["state"] in ("succeeded", "failed"), "the job is over")
    assert attempts(yard, job_id) == [(1, "succeeded")]
    assert steps(yard, job_id) == written(yard, job_id)
    aside = [path.name for path in yard.run_dir(job_id).parent.iterdir() if path.name.startswith("1.before-")]
    assert len(aside) == 1
