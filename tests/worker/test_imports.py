"""Imports by the real worker for the real service: killed midway, cancelled, two at once."""

import json
import signal
import sys

import pytest

from tests.support.image_sets import encoded, image_folder, picture, write
from tests.worker.test_with_the_service import start_yard  # noqa: F401  (a fixture)
from worker import processes, records

pytestmark = pytest.mark.timeout(600)

SLOWLY = """
import json, os, sys, time
from pathlib import Path
from worker.training import data_check, image_check
# Holds the real program when it has looked at the files, until the test lets it go on.
hold = Path(os.environ["HOME"])
inspect = data_check.inspect_layout
def held(*args):
    found = inspect(*args)
    (hold / f"began-{os.getpid()}").touch()
    while not (hold / "go").exists():
        time.sleep(0.05)
    return found
data_check.inspect_layout = held
sys.exit(data_check.main(Path(sys.argv[2]), Path(sys.argv[3])))
"""


@pytest.fixture
def pets(home):
    folder = image_folder(home / "datasets" / "pets", {"cats": 5, "dogs": 5})
    write(folder / "cats" / "copy.png", encoded(picture(0), ".png"))
    return folder


@pytest.fixture
def yard(start_yard, tmp_path, monkeypatch, home):  # noqa: F811
    """A yard whose imports wait, when they have looked at the files, until `go`. HOME tells them where to look."""
    program = tmp_path / "program.py"
    program.write_text(SLOWLY)
    made = start_yard(
        "none",
        TRAINYARD_TRAINING_COMMAND=json.dumps([sys.executable, str(program)]),
        HOME=str(tmp_path),
        TRAINYARD_LEASE_S="20",
        TRAINYARD_HEARTBEAT_S="2",
    )
    made.hold = tmp_path
    return made


def add(yard):
    answer = yard.call("POST", "/v1/datasets", json={"name": "pets", "source": {"path": "pets"}})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def began(yard, count, eventually):
    found = eventually(
        lambda: len(each := list(yard.hold.glob("began-*"))) >= count and each, "the check is under way", timeout_s=120
    )
    return [int(each.name.partition("-")[2]) for each in found]


def ready(yard, dataset, eventually):
    def look():
        found = yard.call("GET", f"/v1/datasets/{dataset}").json()
        return found["state"] != "importing" and found

    found = eventually(look, "the import ends", timeout_s=120)
    assert found["state"] == "ready", found["failure"]
    assert found["facts"]["classes"] == {"cats": 6, "dogs": 5}
    assert found["facts"]["finding_counts"] == {"duplicate": 1}
    items = yard.call("GET", f"/v1/datasets/{dataset}/samples").json()["items"]
    assert [each["duplicate_of"] for each in items if each["finding"]] == ["cats/0.png"]
    return found


def tables(yard):
    return sorted(str(each.relative_to(yard.home / "storage")) for each in yard.home.joinpath("storage").rglob("*.*"))


@pytest.mark.parametrize("victim", ["program", "everything"])
def test_an_import_that_is_killed_midway_is_done_again(yard, pets, eventually, victim):
    dataset = add(yard)
    (pid,) = began(yard, 1, eventually)
    everything = {"stage": "checking", "files_seen": 11, "files": 11, "archive_bytes_seen": 0, "archive_bytes": 0}
    shown = f"/v1/datasets/{dataset}"
    eventually(lambda: yard.call("GET", shown).json()["progress"] == everything, "progress is shown", timeout_s=60)
    if victim == "everything":
        (record,) = records.all_of(yard.home / "run" / "attempts", "w").values()
        processes.send(record.supervisor, signal.SIGKILL)
        processes.wait_for(record.supervisor, 30)
    processes.kill([pid])
    assert len(began(yard, 2, eventually)) == 2
    (yard.hold / "go").touch()
    ready(yard, dataset, eventually)
    assert tables(yard) == [f"checks/{dataset}/2/{name}" for name in ("files.csv", "files.json")]


def test_a_deleted_data_set_is_no_longer_checked_and_leaves_nothing(yard, pets, eventually):
    dataset = add(yard)
    (pid,) = began(yard, 1, eventually)
    assert yard.call("DELETE", f"/v1/datasets/{dataset}").status_code == 204
    eventually(lambda: processes.stat(pid) is None, "the check is ended", timeout_s=60)
    eventually(lambda: not list((yard.home / "run" / "tasks").iterdir()), "its folder is removed")
    assert not (yard.home / "storage" / "checks" / dataset).exists()
    assert (pets / "cats" / "0.png").exists()


def test_two_imports_of_one_folder_at_once_both_end_right(yard, pets, eventually):
    one, two = add(yard), add(yard)
    began(yard, 2, eventually)
    (yard.hold / "go").touch()
    facts = [ready(yard, dataset, eventually) for dataset in (one, two)]
    assert facts[0]["facts"] == facts[1]["facts"]
    assert [each["revision"] for each in facts] == [1, 2]
    assert len(tables(yard)) == 4
