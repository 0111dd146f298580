"""Files that crash, hang or flood their decoder: named and refused, and every other file is looked at all the same."""

import os
import sys
import threading
from pathlib import Path

import pytest

from tests.support.bad_images import black_png
from tests.support.image_sets import encoded, image_folder, picture, write
from worker.training.image_check import inspect as inspect_folder
from worker.training.image_inspection import Limits, LookerFailed, Seen, inspect

pytestmark = pytest.mark.timeout(600)  # a dozen processes, each of which loads OpenCV

PROGRAM = """
import os, sys, time
from worker.training import image_looker
look = image_looker._look
def hostile(folder, name, memory_bytes):
    if "crash" in name:
        os.abort()
    if "hang" in name:
        while True:
            pass
    if "leave" in name:
        os._exit(3)
    if "once" in name and not os.path.exists(folder + "/../died"):
        open(folder + "/../died", "w").close()
        os.kill(os.getpid(), 9)
    return look(folder, name, memory_bytes)
image_looker._look = hostile
image_looker.main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
"""


@pytest.fixture
def hostile(tmp_path: Path) -> tuple[str, ...]:
    """The real program, with decoders that fail by the name of the file."""
    return sys.executable, str(write(tmp_path / "program.py", PROGRAM.encode()))


def names_in(folder: Path) -> list[str]:
    return sorted(str(each.relative_to(folder)) for each in folder.rglob("*.*"))


def test_a_file_that_kills_its_decoder_is_refused_and_the_others_go_on(
    tmp_path: Path, hostile: tuple[str, ...]
) -> None:
    folder = image_folder(tmp_path / "set", {"a": 40, "b": 40})
    for name in ("0crash.png", "leave.png", "once.png", "7crash.png"):
        write(folder / "a" / name, encoded(picture(7), ".png"))
    write(folder / "b" / "zcrash.png", b"")
    names = names_in(folder)
    looks = dict(zip(names, inspect(str(folder), names, limits=Limits(program=hostile)), strict=True))
    refused = {name: look for name, look in looks.items() if isinstance(look, str)}
    crashed = "makes the image decoder crash (by SIGABRT)"
    assert refused == {
        "a/0crash.png": crashed, "a/7crash.png": crashed, "b/zcrash.png": crashed,
        "a/leave.png": "makes the image decoder crash (with exit code 3)",
    }  # fmt: skip
    assert isinstance(looks["a/once.png"], Seen)  # died by chance, and was tried once more
    assert len(looks) == 85


def test_a_file_that_takes_for_ever_is_given_up(tmp_path: Path, hostile: tuple[str, ...]) -> None:
    folder = image_folder(tmp_path / "set", {"a": 2, "b": 2})
    write(folder / "a" / "hang.png", encoded(picture(7), ".png"))
    names = names_in(folder)
    looks = inspect(str(folder), names, limits=Limits(file_s=5.0, program=hostile))
    assert {name for name, look in zip(names, looks, strict=True) if isinstance(look, str)} == {"a/hang.png"}
    assert looks[names.index("a/hang.png")] == "takes longer than 5 s to be read"


def test_a_file_that_needs_more_memory_than_there_is_is_refused(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", {"a": 2, "b": 2})
    write(folder / "a" / "large.png", black_png(9000, 9000))  # 243 MB
    found = inspect_folder(str(folder), limits=Limits(memory_bytes=100 << 20))
    assert [(each.name, each.reason) for each in found.manifest.refused] == [
        ("a/large.png", "needs more than 100 MiB of memory to be decoded")
    ]
    assert len(found.manifest.names) == 4
    assert inspect_folder(str(folder)).manifest.refused == []


def test_progress_is_told_up_to_the_last_file(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", {"a": 50, "b": 50})
    told: list[int] = []
    inspect(str(folder), names_in(folder), told.append)
    assert told == sorted(told)
    assert (len(told), told[-1]) == (4, 100)


def test_what_is_done_with_usable_files_may_refuse_them(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", {"a": 40, "b": 40})
    write(folder / "a" / "bad.png", b"bad")
    names = names_in(folder)
    looks = inspect(str(folder), names, then=lambda name, seen: seen if name.startswith("b/") else f"no {name}")
    assert [name for name, look in zip(names, looks, strict=True) if look == f"no {name}"] == sorted(
        f"a/{number}.png" for number in range(40)
    )
    assert [look for look in looks if isinstance(look, str) and "a/" not in look] == [
        "is not a JPEG, PNG, WebP, BMP or TIFF image"
    ]


def test_what_is_raised_for_a_file_ends_the_look_at_all(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", {"a": 300, "b": 300})
    taken = []

    def take(name: str, _seen: Seen) -> Seen:
        taken.append(name)
        raise MemoryError(name)

    with pytest.raises(MemoryError):
        inspect(str(folder), names_in(folder), then=take)
    assert len(taken) <= 3  # one for each process that there may be


def test_a_program_that_does_not_start_is_not_the_images_fault(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", {"a": 1, "b": 1})
    with pytest.raises(LookerFailed, match="does not start"):
        inspect(str(folder), names_in(folder), limits=Limits(program=(sys.executable, "-c", "import sys; sys.exit(9)")))


def test_nothing_is_left_running(tmp_path: Path, hostile: tuple[str, ...]) -> None:
    folder = image_folder(tmp_path / "set", {"a": 2, "b": 2})
    write(folder / "b" / "crash.png", b"")
    inspect(str(folder), names_in(folder), limits=Limits(program=hostile))
    me = os.getpid()
    children = Path(f"/proc/{me}/task/{threading.get_native_id()}/children").read_text().split()
    assert [pid for pid in children if str(tmp_path).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()] == []


def test_names_of_every_kind_reach_the_program(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", {"猫": 1, "a'\"b": 1})
    for name in ("line\nbreak.png", f"{'y' * 251}.png", "=1+1.png", " spaced .png", f"{'字' * 83}.png"):
        write(folder / "猫" / name, encoded(picture(3), ".png"))
    looks = inspect(str(folder), names_in(folder))
    assert len(looks) == 7
    assert all(isinstance(look, Seen) for look in looks)
