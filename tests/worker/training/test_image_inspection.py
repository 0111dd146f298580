"""Files that crash, hang or flood their decoder: named and refused, and every other file is looked at all the same."""

import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.bad_images import black_png, write_refused, write_usable
from tests.support.image_sets import encoded, image_folder, picture, write
from worker.training import image_files
from worker.training.cache.shards import Places, ShardReader, Slot
from worker.training.image_check import inspect as inspect_folder
from worker.training.image_inspection import Limits, LookerFailed, Seen, inspect
from worker.training.image_looker import Keep

pytestmark = pytest.mark.timeout(600)  # a dozen processes, each of which loads OpenCV

PROGRAM = """
import os, sys, time
from worker.training import image_looker
look = image_looker._look
def hostile(folder, name, *rest):
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
    return look(folder, name, *rest)
image_looker._look = hostile
image_looker.main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), *sys.argv[4:])
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


@dataclass
class Kept:
    """Keeps what is told; so many files are given."""

    keep: Keep
    files: int = 1000
    given: int = 0
    slots: dict[str, Slot] = field(default_factory=dict)
    errors: list[OSError] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def number(self, size_bytes: int) -> int | None:
        with self.lock:
            self.given += 1
            return self.given - 1 if self.given <= self.files else None

    def kept(self, file: str, slot: Sequence[int]) -> None:
        self.slots[file] = Slot(*slot)

    def failed(self, error: OSError) -> None:
        self.errors.append(error)


def kept_in(folder: Path, channels: int = 3, files: int = 1000) -> Kept:
    folder.mkdir()
    return Kept(Keep(str(folder), channels, ()), files)


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_of_what_can_be_used_are_kept_as_they_are_decoded(tmp_path: Path, channels: int) -> None:
    folder = image_folder(tmp_path / "set", {"a": 40, "b": 40})
    write(folder / "a" / "bad.png", b"bad")
    names, kept = names_in(folder), kept_in(tmp_path / "kept", channels)
    looks = dict(zip(names, inspect(str(folder), names, keeper=kept), strict=True))
    assert looks == dict(zip(names, inspect(str(folder), names), strict=True))
    assert sorted(kept.slots) == [name for name in names if name != "a/bad.png"]
    assert kept.errors == []
    reader = ShardReader(tmp_path / "kept", Places.of(list(kept.slots.values())), channels, kept.given)
    for index, name in enumerate(kept.slots):
        expected = image_files.decode((folder / name).read_bytes(), channels)
        assert (reader.read(index) == expected).all()


def test_a_look_goes_on_without_room_for_pixels(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", {"a": 10, "b": 10})
    names, kept = names_in(folder), kept_in(tmp_path / "kept", files=0)
    assert all(isinstance(look, Seen) for look in inspect(str(folder), names, keeper=kept))
    assert (kept.slots, [error.strerror for error in kept.errors]) == ({}, ["there is no room"])
    gone = Kept(Keep(str(tmp_path / "gone"), 3, ()))
    assert all(isinstance(look, Seen) for look in inspect(str(folder), names, keeper=gone))
    assert (gone.slots, [type(error) for error in gone.errors]) == ({}, [FileNotFoundError])


def test_a_process_that_dies_loses_nothing_that_was_kept(tmp_path: Path, hostile: tuple[str, ...]) -> None:
    folder = image_folder(tmp_path / "set", {"a": 10})
    for name in ("5crash.png", "once.png"):
        write(folder / "a" / name, encoded(picture(7), ".png"))
    names, kept = names_in(folder), kept_in(tmp_path / "kept")
    looks = inspect(str(folder), names, limits=Limits(program=hostile), keeper=kept)
    assert sorted(kept.slots) == [name for name, look in zip(names, looks, strict=True) if isinstance(look, Seen)]
    assert len(kept.slots) == 11
    reader = ShardReader(tmp_path / "kept", Places.of([kept.slots[name] for name in sorted(kept.slots)]), 3, kept.given)
    for index, name in enumerate(sorted(kept.slots)):
        assert (reader.read(index) == image_files.decode((folder / name).read_bytes(), 3)).all()


def test_bad_and_odd_files_are_judged_alike_whether_pixels_are_kept_or_not(tmp_path: Path) -> None:
    """Also where JPEGs are decoded at an eighth of their size alone."""
    folder = tmp_path / "set"
    write_usable(folder / "a")
    write_refused(folder / "b")
    for number in range(8):
        content = bytearray(encoded(picture(number, 160, 240), ".jpg"))
        content[300 + 400 * number] ^= 0x55
        write(folder / "b" / f"damaged_{number}.jpg", bytes(content))
    huge = bytearray(encoded(picture(1, 160, 240), ".jpg"))
    at = huge.index(b"\xff\xc0") + 5
    huge[at : at + 4] = (20_000).to_bytes(2, "big") * 2
    write(folder / "b" / "huge.jpg", bytes(huge))
    names = sorted(str(each.relative_to(folder)) for each in folder.glob("*/*") if each.name.isprintable())
    expected = inspect(str(folder), names)
    assert expected[names.index("b/huge.jpg")] == "has more than 100,000,000 pixels"
    for channels, lists in ((3, ()), (3, [[("scales", (3, 3))]]), (1, [[("scales", (3, 3))]])):
        kept = kept_in(tmp_path / f"{channels} {len(lists)}", channels)
        kept.keep = kept.keep._replace(lists=lists)
        assert inspect(str(folder), names, keeper=kept) == expected
        assert len(kept.slots) == sum(isinstance(look, Seen) for look in expected)


def test_what_is_raised_for_a_file_ends_the_look_at_all(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", {"a": 300, "b": 300})
    heard = []

    def told(files: int) -> None:
        heard.append(files)
        raise MemoryError

    with pytest.raises(MemoryError):
        inspect(str(folder), names_in(folder), told)
    assert len(heard) <= 3  # one for each process that there may be


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
