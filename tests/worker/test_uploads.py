"""Uploads by the real worker for the real service: watched, deleted midway, on a disk that is full."""

import json
import sys

import pytest

from tests.support.archives import zip_of
from tests.support.image_sets import encoded, picture
from tests.support.small_disk import small_disk
from tests.worker.test_with_the_service import start_yard  # noqa: F401  (a fixture)
from worker import processes

pytestmark = pytest.mark.timeout(600)

HELD = """
import os, sys, time
from pathlib import Path
from worker.training import data_check
from worker.training.archives.tree import Tree
# Holds the real program behind its fourth file, or when it has looked at all, while there is a file `hold-STAGE`.
folder = Path(os.environ["HOME"])
def wait(stage):
    if (folder / f"hold-{stage}").exists():
        (folder / f"began-{os.getpid()}").touch()
    while (folder / f"hold-{stage}").exists():
        time.sleep(0.05)
add, inspect = Tree.add, data_check.inspect_layout
def added(self, entry):
    add(self, entry)
    if self.files == 4:
        wait("unpacking")
def looked(*args):
    found = inspect(*args)
    wait("checking")
    return found
Tree.add, data_check.inspect_layout = added, looked
data_check.TELL_EVERY_S = 0.0
sys.exit(data_check.main(Path(sys.argv[2]), Path(sys.argv[3])))
"""

PETS = zip_of({f"{('cat', 'dog')[number % 2]}/{number}.png": encoded(picture(number), ".png") for number in range(12)})


@pytest.fixture
def yard(start_yard, tmp_path, home):  # noqa: F811
    """A yard whose imports are held while there is a file that says so. HOME tells them where to look."""
    program = tmp_path / "program.py"
    program.write_text(HELD)
    made = start_yard(
        "none",
        TRAINYARD_TRAINING_COMMAND=json.dumps([sys.executable, str(program)]),
        HOME=str(tmp_path),
        TRAINYARD_MIN_FREE_BYTES="0",
        TRAINYARD_LEASE_S="20",
        TRAINYARD_HEARTBEAT_S="2",
    )
    made.hold = tmp_path
    made.uploads = home / "storage" / "datasets"
    return made


def upload(yard, archive=PETS):
    made = yard.call("POST", "/v1/datasets", json={"name": "pets", "source": {"kind": "upload"}}).json()
    answer = yard.call("PUT", f"/v1/datasets/{made['id']}/archive", content=archive)
    assert answer.status_code == 202, answer.text
    return f"/v1/datasets/{made['id']}"


def over(yard, path, eventually):
    """The data set when its import is over."""

    def look():
        shown = yard.call("GET", path).json()
        return shown["state"] != "importing" and shown

    return eventually(look, f"{path} is imported", timeout_s=200)


@pytest.mark.parametrize("stage", ["unpacking", "checking"])
def test_a_set_that_is_deleted_midway_leaves_nothing_and_the_next_one_is_imported(yard, eventually, stage):
    (yard.hold / f"hold-{stage}").touch()
    path = upload(yard)
    (began,) = eventually(lambda: list(yard.hold.glob("began-*")), "it is under way", timeout_s=200)
    far = {"unpacking": (3, 0), "checking": (12, 12)}[stage]  # the fourth is told of when it is there

    def is_shown():
        progress = yard.call("GET", path).json()["progress"]
        return progress and (progress["stage"], progress["files_seen"], progress["files"]) == (stage, *far) and progress

    progress = eventually(is_shown, "how far it is", timeout_s=100)
    assert progress["archive_bytes"] == (len(PETS) if stage == "unpacking" else 0)
    assert 0 <= progress["archive_bytes_seen"] <= progress["archive_bytes"]

    assert yard.call("DELETE", path).status_code == 204
    assert yard.call("GET", path).status_code == 404
    assert yard.call("DELETE", path).status_code == 404
    pid = int(began.name.partition("-")[2])
    eventually(lambda: processes.stat(pid) is None, "its program is ended", timeout_s=100)
    eventually(lambda: not list((yard.home / "run" / "tasks").iterdir()), "its folder is removed", timeout_s=100)
    eventually(lambda: list(yard.uploads.iterdir()) == [], "its files are removed", timeout_s=100)
    assert not (yard.home / "storage" / "checks").exists()

    (yard.hold / f"hold-{stage}").unlink()
    shown = over(yard, upload(yard), eventually)
    assert shown["state"] == "ready", shown["failure"]
    assert shown["facts"]["classes"] == {"cat": 6, "dog": 6}


def test_an_archive_that_does_not_fit_unpacked_fails_and_the_next_one_works(yard, eventually):
    blank = zip_of({f"{('a', 'b')[number % 2]}/{number}.png": bytes(400_000) for number in range(10)})
    with small_disk(yard.uploads, 2 << 20) as disk:
        shown = over(yard, upload(yard, blank), eventually)
        assert (shown["state"], shown["failure"]["code"]) == ("failed", "disk_full")
        assert "could not be unpacked" in shown["failure"]["message"]
        eventually(lambda: list(disk.iterdir()) == [], "nothing is left")
        assert over(yard, upload(yard), eventually)["state"] == "ready"
