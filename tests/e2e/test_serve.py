"""`trainyard serve` is killed, stopped, started twice: nothing is lost, nothing is left."""

import json
import os
import signal
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from app.cli.exits import Exit
from tests.e2e.place import Api, Place, spec

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def own(new_place: Callable[[], Place]) -> Iterator[Place]:
    made = new_place()
    yield made
    made.clean()


def read_database(place: Place, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(place.home / "trainyard.db")) as connection:
        return connection.execute(query).fetchall()


def test_an_attempt_outlives_a_killed_serve_and_finds_the_next_one(own: Place) -> None:
    own.start()
    api = Api(own)
    job = api.submit(spec(8))
    api.job_when(job, lambda shown: shown["phase"] == "training")
    old = own.processes()
    ranks = {pid for pid, line in old.items() if "worker.training " in line}  # without the warm parent
    own.stop(signal.SIGKILL)
    assert ranks <= own.processes().keys()

    own.start()

    assert api.get("/v1/jobs")["items"][0]["id"] == job
    replaced = {pid for pid, line in old.items() if any(part in line for part in (" api ", "celery", "valkey"))}
    assert len(replaced) == 3
    assert not replaced & own.processes().keys()
    done = api.final(job)
    assert done["state"] == "succeeded", done["failure"]
    assert done["attempt"] == 1, api.get(f"/v1/jobs/{job}/attempts")["items"]
    own.stop()
    assert own.processes() == {}


def test_ctrl_c_stops_everything_in_15_s_and_the_next_serve_goes_on(own: Place) -> None:
    own.start()
    api = Api(own)
    job = api.submit(spec(12))
    api.job_with_checkpoint(job)

    assert own.stop(signal.SIGINT) < 15

    assert own.processes() == {}
    assert read_database(own, "SELECT id, state FROM jobs") == [(job, "queued")]
    assert read_database(own, "SELECT count(*) FROM checkpoints")[0] != (0,)
    own.start()
    done = api.final(job)
    assert done["state"] == "succeeded", done["failure"]
    assert [attempt["state"] for attempt in api.get(f"/v1/jobs/{job}/attempts")["items"]] == ["released", "succeeded"]


def test_a_taken_port_is_one_line_and_nothing_is_started(own: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = own.command("serve", "--port", str(port))
    assert done.returncode != 0
    assert done.stdout == ""
    assert (
        done.stderr
        == f"trainyard: port {port} of 127.0.0.1 is taken by another program: give another --port (0: a free one).\n"
    )
    assert own.processes() == {}
    assert not (own.home / "trainyard.db").exists()


def test_other_machines_are_served_only_when_there_is_a_key(own: Place, tmp_path: Path) -> None:
    done = own.command("serve", "--host", "0.0.0.0", "--port", "0")
    assert done.returncode == Exit.USAGE
    assert done.stderr.startswith("trainyard: --host 0.0.0.0 is refused: ")
    assert done.stderr.endswith(" Make one: trainyard keys create NAME\n")
    assert done.stderr.count("\n") == 1
    assert own.processes() == {}

    key = own.command("keys", "create", "e2e", check=True).stdout.strip()
    own.start(host="0.0.0.0")  # returns when its own worker is there, which has no key

    path = tmp_path / "spec.json"
    path.write_text(json.dumps(spec(1)))
    assert Api(own).call("GET", "/v1/jobs").status_code == httpx.codes.UNAUTHORIZED
    assert own.command("submit", str(path)).returncode == Exit.REFUSED
    own.settings["TRAINYARD_API_KEY"] = key
    followed = own.command("submit", str(path), "--follow", timeout_s=400)
    assert followed.returncode == Exit.SUCCEEDED, followed.stderr
    assert key not in own.output()
    assert not [path for path in own.home.rglob("*") if path.is_file() and key.encode() in path.read_bytes()]


def test_children_that_die_come_back_and_a_second_serve_is_refused(own: Place) -> None:
    own.start()
    second = own.command("serve", "--port", "0")
    assert second.returncode != 0
    assert second.stderr.startswith("trainyard: another `trainyard serve` (pid ")
    assert second.stderr.count("\n") == 1

    api, url = Api(own), own.url
    for name in ("broker", "worker", "api"):
        os.kill(json.loads((own.home / "run" / f"{name}.pid").read_text())["pid"], signal.SIGKILL)
    # The socket stays open while the API is away: a request that comes then is answered late, not refused.
    job = api.submit(spec(1))
    assert own.url == url
    assert api.final(job)["state"] == "succeeded"
    assert own.output().count("was killed by SIGKILL; starting it again") == 3


def test_a_leftover_api_on_the_wanted_port_is_replaced(own: Place) -> None:
    own.start()
    port = int(own.url.rpartition(":")[2])
    own.stop(signal.SIGKILL)
    own.start(port)
    assert own.url == f"http://127.0.0.1:{port}"
    assert Api(own).get("/readyz")["status"] in ("ok", "degraded")
