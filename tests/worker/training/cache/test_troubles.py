"""What may befall a cache: killed builders, full and read-only disks, damage, eviction. Real files, real processes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.image_sets import encoded, order, picture, write
from tests.worker.training.cache.places import SETTLE_S, Heard, blind, entries, obtained, pixels, settled_folder, wanted
from worker.training import data, image_files
from worker.training.cache import shards
from worker.training.cache.store import Store

pytestmark = pytest.mark.timeout(600)
FOLDER = {"kind": "folder", "path": "set"}
WAIT_S = 300.0
PROGRAM = """
import sys
from pathlib import Path
from tests.worker.training.cache.places import obtained, wanted
found, heard = obtained(wanted(Path(sys.argv[1]), Path(sys.argv[2])))
print(len(found.index.names), found.entry is not None, *heard.codes)
"""


def builder(folder: Path, run_dir: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(folder), str(run_dir)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def slow_set(folder: Path) -> Path:
    """Takes about a second to decode."""
    content = encoded(picture(1, 400, 400), ".png")
    for name in ("a", "b"):
        for number in range(200):
            write(folder / name / f"{number}.png", content)
    time.sleep(SETTLE_S)
    return folder


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def stopped_in_the_middle(cache: Path, folder: Path, run_dir: Path) -> subprocess.Popen[str]:
    """A builder that holds the lock, has written pixels, and does not go on."""
    process = builder(folder, run_dir)
    until(lambda: list(cache.glob("sets/.*.partial/pixels-*")))
    process.send_signal(signal.SIGSTOP)
    assert process.poll() is None
    assert entries_without_partial(cache) == []
    return process


def entries_without_partial(cache: Path) -> list[Path]:
    return [path for path in entries(cache) if not path.name.startswith(".")]


def leftovers(cache: Path) -> list[str]:
    return [path.name for path in cache.glob("sets/.*")]


def test_a_builder_that_is_killed_lets_another_go_on(cache: Path, tmp_path: Path) -> None:
    folder = slow_set(tmp_path / "set")
    killed = stopped_in_the_middle(cache, folder, tmp_path / "1")
    killed.kill()
    killed.wait()
    assert killed.stdout
    killed.stdout.close()
    assert leftovers(cache) != []
    found, heard = obtained(wanted(folder, tmp_path / "2"))
    assert (len(found.index.names), heard.codes) == (400, ["data_cached"])
    assert leftovers(cache) == []


def test_one_builds_while_the_others_wait(cache: Path, tmp_path: Path) -> None:
    folder = slow_set(tmp_path / "set")
    first = stopped_in_the_middle(cache, folder, tmp_path / "1")
    others = [builder(folder, tmp_path / str(number)) for number in (2, 3)]
    time.sleep(1)
    assert len(entries(cache)) == 1, "the folder of the one that builds"
    first.send_signal(signal.SIGCONT)
    told = sorted(process.communicate(timeout=WAIT_S)[0].split() for process in (first, *others))
    assert told == [["400", "True"], ["400", "True"], ["400", "True", "data_cached"]]
    assert len(entries_without_partial(cache)) == 1
    assert leftovers(cache) == []


def test_builders_that_are_killed_again_and_again_spoil_nothing(cache: Path, tmp_path: Path) -> None:
    folder = slow_set(tmp_path / "set")
    for number in range(6):
        process = builder(folder, tmp_path / f"killed {number}")
        until(lambda: leftovers(cache) or entries_without_partial(cache))
        time.sleep(0.05 * number**2)
        process.kill()
        process.communicate()
    found, _ = obtained(wanted(folder, tmp_path / "last"))
    assert found.entry
    reader = found.entry.reader()
    expected_HWC = image_files.reduced(picture(1, 400, 400), 8)
    assert all((reader.read(index) == expected_HWC).all() for index in range(0, 400, 40))
    assert leftovers(cache) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: os.truncate(entry / shards.name(0), 100),
        lambda entry: (entry / shards.name(0)).unlink(),
        lambda entry: (entry / "index.safetensors").write_bytes(b"x" * 50),
        lambda entry: (entry / "entry.json").write_bytes(b"{"),
    ],
    ids=["cut off", "gone", "index", "record"],
)
def test_an_entry_that_is_damaged_is_built_again_and_that_is_told(
    cache: Path, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    folder = settled_folder(tmp_path / "set", {"a": 5, "b": 5})
    before = pixels(data.load(order(tmp_path / "1", FOLDER, folder)))
    (entry,) = entries(cache)
    damage(entry)
    again = data.load(order(tmp_path / "2", FOLDER, folder), heard := Heard())
    assert heard.codes == ["cache_damaged", "data_cached"]
    assert pixels(again) == before
    assert entries(cache) == [entry]
    assert obtained(wanted(folder, tmp_path / "3"))[1].codes == []


def test_an_entry_whose_record_is_gone_is_replaced(cache: Path, tmp_path: Path) -> None:
    folder = settled_folder(tmp_path / "set", {"a": 5, "b": 5})
    obtained(wanted(folder, tmp_path / "1"))
    (entry,) = entries(cache)
    (entry / "entry.json").unlink()
    found, heard = obtained(wanted(folder, tmp_path / "2"))
    assert (heard.codes, found.entry is not None) == (["data_cached"], True)


def flip(file: Path, place: int) -> None:
    with file.open("r+b") as opened:
        opened.seek(place)
        value = opened.read(1)[0]
        opened.seek(place)
        opened.write(bytes([value ^ 1]))


@pytest.mark.parametrize("cut", [False, True])
def test_damage_under_a_running_job_is_read_from_the_files_and_built_anew_by_the_next(
    cache: Path, tmp_path: Path, cut: bool
) -> None:
    folder = settled_folder(tmp_path / "set", {"a": 5, "b": 5})
    loaded = data.load(order(tmp_path / "1", FOLDER, folder), heard := Heard())
    (entry,) = entries(cache)
    pixels_file = entry / shards.name(0)
    os.truncate(pixels_file, 0) if cut else [flip(pixels_file, place) for place in range(10, 5000, 500)]
    found = pixels(loaded)
    assert found == pixels(data.load(order(tmp_path / "2", FOLDER, folder)))
    assert heard.codes == ["data_cached", "cache_damaged"]
    assert np.frombuffer(found[0], np.uint8).tolist() == picture(0).reshape(-1).tolist()


def test_a_quota_smaller_than_the_set_is_told_and_the_job_reads_files(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINYARD_CACHE_BYTES", "2000")
    folder = settled_folder(tmp_path / "set", {"a": 5, "b": 5})
    loaded = data.load(order(tmp_path / "1", FOLDER, folder), heard := Heard())
    assert heard.codes == ["cache_unavailable"]
    assert "quota" in heard.notes[0][2]
    assert pixels(loaded)[0] == picture(0).tobytes()
    assert leftovers(cache) == entries(cache) == []


def test_what_was_used_least_lately_makes_room_but_never_what_is_read(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [settled_folder(tmp_path / f"set{number}", {"a": 5, f"b{number}": 5}) for number in range(4)]
    first, _ = obtained(wanted(folders[0], tmp_path / "0"))
    size_bytes = sum(file.stat().st_size for file in entries(cache)[0].iterdir())
    monkeypatch.setenv("TRAINYARD_CACHE_BYTES", str(int(size_bytes * 2.5)))
    read_path = first.entry.folder if first.entry else None
    second, _ = obtained(wanted(folders[1], tmp_path / "1"))
    assert second.entry
    second_path = second.entry.folder
    second.entry.close()
    third, heard = obtained(wanted(folders[2], tmp_path / "2"))
    assert (third.entry is not None, heard.codes) == (True, ["data_cached"])
    assert read_path in entries(cache), "it is the oldest, but it is read"
    assert second_path not in entries(cache)
    _, heard = obtained(wanted(folders[3], tmp_path / "3"))
    assert heard.codes == ["cache_unavailable"], "both that are there are read"
    assert first.entry
    first.entry.close()
    found, heard = obtained(wanted(folders[3], tmp_path / "4"))
    assert (found.entry is not None, heard.codes) == (True, ["data_cached"])
    assert read_path not in entries(cache)


def test_leftovers_make_room_first(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = settled_folder(tmp_path / "set", {"a": 5, "b": 5})
    kept, _ = obtained(wanted(folder, tmp_path / "1"))
    assert kept.entry
    kept.entry.close()
    for name in (".dead.partial", ".old.1.removed"):
        write(cache / "sets" / name / "pixels-00000.bin", bytes(50_000))
    monkeypatch.setenv("TRAINYARD_CACHE_BYTES", "40000")
    obtained(wanted(settled_folder(tmp_path / "other", {"c": 5, "d": 5}), tmp_path / "2"))
    assert len(entries_without_partial(cache)) == 2
    assert leftovers(cache) == []


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_fills_up_costs_the_cache_alone(
    tmp_path: Path, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINYARD_CACHE_DIR", str(disk / "cache"))
    monkeypatch.setenv("TRAINYARD_CACHE_BYTES", str(1 << 40))
    folder = slow_set(tmp_path / "set")  # 480,000 bytes each
    loaded = data.load(order(tmp_path / "1", FOLDER, folder), heard := Heard())
    assert heard.codes == ["cache_unavailable"]
    assert "No space left" in heard.notes[0][2] or "nearly full" in heard.notes[0][2]
    assert loaded.train.read(7).tobytes() == picture(1, 400, 400).tobytes()
    assert leftovers(disk / "cache") == []


def test_a_disk_that_is_read_only_costs_the_cache_alone_and_what_it_has_is_used(
    tmp_path: Path, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINYARD_CACHE_DIR", str(disk / "cache"))
    first = settled_folder(tmp_path / "set", {"a": 3, "b": 3})
    monkeypatch.setenv("TRAINYARD_CACHE_BYTES", str(1 << 40))
    sha256 = obtained(wanted(first, tmp_path / "1"))[0].index.sha256
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    blind(first)
    found, heard = obtained(wanted(first, tmp_path / "2", sha256))
    assert (found.entry is not None, heard.codes) == (True, [])
    other = settled_folder(tmp_path / "other", {"a": 4, "b": 3})
    found, heard = obtained(wanted(other, tmp_path / "3"))
    assert (found.entry, heard.codes) == (None, ["cache_unavailable"])
    assert "Read-only" in heard.notes[0][2]
    assert len(found.index.names) == 7


def test_a_cache_that_is_no_folder_costs_the_cache_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINYARD_CACHE_DIR", str(write(tmp_path / "file", b"")))
    found, heard = obtained(wanted(settled_folder(tmp_path / "set", {"a": 3, "b": 3}), tmp_path / "1"))
    assert (found.entry, heard.codes) == (None, ["cache_unavailable"])


def test_a_run_whose_entry_was_removed_meanwhile_reads_files(cache: Path, tmp_path: Path) -> None:
    folder, run_dir = settled_folder(tmp_path / "set", {"a": 5, "b": 5}), tmp_path / "run"
    before = pixels(data.load(order(run_dir, FOLDER, folder)))
    shutil.rmtree(cache)
    loaded = data.load(order(run_dir, FOLDER, folder), heard := Heard())
    assert (heard.codes, pixels(loaded)) == ([], before)


def test_the_quota_is_a_share_of_the_disk_unless_it_is_given(tmp_path: Path) -> None:
    store = Store(tmp_path)
    total_bytes = shutil.disk_usage(tmp_path).total
    store.make_room(1, tmp_path)
    with pytest.raises(OSError, match="quota"):
        store.make_room(total_bytes // 4, tmp_path)
    with pytest.raises(OSError, match="nearly full"):
        Store(tmp_path, 1 << 60).make_room(total_bytes, tmp_path)
