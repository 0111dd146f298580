"""Archives of every form become folders; all that could harm is refused by name, and leaves nothing."""

import gzip
import os
import resource
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

from app.contract.failures import FailureCode
from tests.support.archives import END, Part, entry, every_form, header, padded, pax, record, tar_of, zip_of, zipped
from tests.support.small_disk import small_disk
from worker.training.archives import refusals, tree
from worker.training.archives.refusals import Limits
from worker.training.archives.unpack import unpack
from worker.training.errors import RunFailure

LONG = "tulip/" + "l" * 90 + "/" + "l" * 90 + ".jpg"
FILES = {"rose/1.jpg": b"r" * 700, "rose/郁金香.jpg": b"\0" * 512, "tulip/2.jpg": b"t", LONG: b""}
pytestmark = pytest.mark.timeout(600)  # on a busy disk each sync takes seconds
LIMITS = Limits(unpacked_bytes=1 << 30)
FORMS = dict(every_form(FILES))


def unpacked(folder: Path, archive: bytes, limits: Limits = LIMITS) -> Path:
    """The new folder. Whatever happens, nothing else is left."""
    folder.mkdir(exist_ok=True)
    (folder / "archive").write_bytes(archive)
    try:
        unpack(folder / "archive", folder / "files", limits)
    finally:
        assert {entry.name for entry in folder.iterdir()} <= {"files"}
    return folder / "files"


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def refusal(folder: Path, archive: bytes, limits: Limits = LIMITS) -> str:
    with pytest.raises(RunFailure) as refused:
        unpacked(folder, archive, limits)
    assert refused.value.failure.code == FailureCode.BAD_DATASET
    assert list(folder.iterdir()) == []
    return refused.value.failure.message


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read(tmp_path: Path, form: str) -> None:
    assert content(unpacked(tmp_path, FORMS[form])) == FILES


def test_wrapping_folders_are_seen_through_and_litter_is_left_out(tmp_path: Path) -> None:
    wrapped = {f"./set/flowers/{name}": data for name, data in FILES.items()}
    litter = {"__MACOSX/set/._1.jpg": b"x", ".DS_Store": b"x", "set/flowers/rose/Thumbs.db": b"x"}
    for number, archive in enumerate((tar_of(litter | wrapped), zip_of(wrapped | litter))):
        assert content(unpacked(tmp_path / str(number), archive)) == FILES


@pytest.mark.parametrize("name", ["train/a/1.jpg", "rose/1.jpg"])
def test_a_folder_that_is_part_of_the_set_is_kept(tmp_path: Path, name: str) -> None:
    assert content(unpacked(tmp_path, zip_of({name: b"x"}))) == {name: b"x"}


def test_modes_and_owners_of_the_archive_count_for_nothing(tmp_path: Path) -> None:
    folder = unpacked(tmp_path, zipped(Part(b"a/1", mode=0o106777), Part(b"b/", b"", mode=0o040000)))
    assert (folder / "a" / "1").stat().st_mode & 0o7777 == 0o644
    assert (folder / "b").stat().st_mode & 0o7777 == 0o755


def test_a_name_in_a_code_page_is_taken_from_the_field_beside_it(tmp_path: Path) -> None:
    raw, name = "玫瑰/1.jpg".encode("gbk"), "玫瑰/1.jpg".encode()
    field = b"\1" + struct.pack("<L", zlib.crc32(raw)) + name
    extra = struct.pack("<2H", 0x7075, len(field)) + field
    assert content(unpacked(tmp_path, zipped(Part(raw, extra=extra)))) == {"玫瑰/1.jpg": b"x"}


NAMES = {
    "..": [b"../x", b"a/../../x", b"a/..", b".."],
    "absolute": [b"/etc/passwd", b"//x/y", b"C:/x", b"c:x"],
    "backslash": [b"a\\..\\x", b"\\\\host\\x"],
    "control": [b"a/\n", b"a\x1b[2J", "a/\x85".encode()],
    "not UTF-8": [b"a/\xff\xfe", b"\xed\xa0\x80"],
    "longer name": [b"a/" + b"x" * 256, "ü".encode() * 128, b"/".join([b"y" * 200] * 6)],
    "folders deep": [b"/".join([b"d"] * 60)],
}


@pytest.mark.parametrize("reason", NAMES)
def test_bad_names_are_refused(tmp_path: Path, reason: str) -> None:
    for number, name in enumerate(NAMES[reason]):
        assert reason in refusal(tmp_path / f"zip{number}", zipped(Part(b"a/1"), Part(name)))
        long = pax({b"path": name}) + entry(b"x") if len(name) > 100 else entry(name)
        assert reason in refusal(tmp_path / f"tar{number}", entry(b"a/1") + long + END)


BAD_ZIPS = {
    "symbolic link": zipped(Part(b"a/1"), Part(b"a/l", b"/etc", mode=0o120777)),
    "device or pipe": zipped(Part(b"a/p", b"", mode=0o010644)),
    "encrypted": zipped(Part(b"a/1", flags=1)),
    "method 14": zipped(Part(b"a/1", method=14)),
    "method 99": zipped(Part(b"a/1", method=99)),
    "checksum": zipped(Part(b"a/1", crc=1)),
    "more bytes": zipped(Part(b"a/1", b"x" * 100, method=8, size=10)),
    "fewer bytes": zipped(Part(b"a/1", b"x" * 100, method=8, size=101)),
    "another number": zipped(Part(b"a/1", b"x" * 100, size=10)),
    "is damaged": zipped(Part(b"a/1", b"x" * 9, method=8, packed=b"\xff" * 9)),
    "behind its data": zipped(Part(b"a/1", b"x", method=8, packed=Part(b"", b"x", method=8).data() + b"!")),
    "something else than the directory": zipped(Part(b"a/1", local={"name": b"../1"})),
    "cut off": zipped(Part(b"a/1"))[:-1],
    "something behind": zipped(Part(b"a/1")) + b"!",
    "not where it should be": zipped(Part(b"a/1"), start=3),
    "more than one end": zipped(Part(b"a/1"), comment=zipped()),
    "with more in it": zipped(Part(b"a/1"), Part(b"a/2"), count=1),
    "several parts": zipped(Part(b"a/1"), disk=1),
    "overlap": zipped(Part(b"a/1"), Part(b"a/2", at=0)),
    "not where the directory says": zipped(Part(b"a/1", at=4), before=b"PK\3\4abcd"),
    "is there twice": zipped(Part(b"a/1"), Part(b"a/./1")),
    "upper and lower case": zipped(Part(b"a/x"), Part(b"a/X")),
    "accents": zipped(Part("a/é".encode()), Part(b"a/e\xcc\x81")),
    "where a file is": zipped(Part(b"a"), Part(b"a/b")),
    "a folder with a content": zipped(Part(b"a/", b"x")),
    "no files": zipped(Part(b"a/", b"", mode=0o040755)),
    "neither a zip nor a tar": b"PK\1\2" + bytes(30),
}  # fmt: skip


@pytest.mark.parametrize("reason", BAD_ZIPS)
def test_bad_zips_are_refused(tmp_path: Path, reason: str) -> None:
    assert reason in refusal(tmp_path, BAD_ZIPS[reason])


BAD_TARS = {
    "symbolic link": entry(b"a/1") + header(b"a/l", kind=b"2", link=b"/etc") + END,
    "hard link": entry(b"a/1") + header(b"a/l", kind=b"1", link=b"a/1") + END,
    "device": header(b"a/d", kind=b"3") + END,
    "pipe": header(b"a/p", kind=b"6") + END,
    "sparse file": header(b"a/s", kind=b"S") + END,
    "holds a sparse": pax({b"GNU.sparse.major": b"1"}) + entry(b"a/1") + END,
    "of the kind 'V'": header(b"label", kind=b"V") + END,
    "many entries one name": pax({b"path": b"a/1"}, b"g") + entry(b"x") + END,
    "name is told twice": entry(b"@", b"a/1\0", b"L") + pax({b"path": b"a/2"}) + entry(b"x") + END,
    "told twice": entry(b"@", record(b"path", b"a/1") + record(b"path", b"a/2"), b"x") + entry(b"x") + END,
    "extension header of": header(b"@", 1 << 40, b"x", size_field=b"\x80" + (1 << 40).to_bytes(11, "big")) + END,
    "cannot be read": entry(b"@", b"99 path=a\n", b"x") + entry(b"x") + END,
    "wrong size": header(b"a/1", size_field=b"99999999999\0") + END,
    "names that are not UTF-8": pax({b"hdrcharset": b"BINARY"}) + entry(b"x") + END,
    "NUL": pax({b"path": b"a/1\0/../2"}) + entry(b"x") + END,
    "wrong checksum": entry(b"a/1") + b"?" + entry(b"a/2")[1:] + END,
    "behind its end": entry(b"a/1") + END + entry(b"../2") + END,
    "an entry should follow": entry(b"a/1") + pax({b"path": b"a/2"}) + END,
    "is cut off": entry(b"a/1"),
    "a folder with a content": entry(b"a/", kind=b"5") + END,
    "is there twice": entry(b"a/1") + entry(b"a/1") + END,
    "upper and lower case": entry(b"a/1") + entry(b"A/2") + END,
    "where a file is": entry(b"a") + entry(b"a/b") + END,
    "larger than": header(b"a/1", size_field=b"\x80" + (5 << 30).to_bytes(11, "big")) + END,
    "no files": END,
    "zstd": b"(\xb5/\xfd" + END,
    "neither a zip nor a tar": b"x" * 2000,
}  # fmt: skip


@pytest.mark.parametrize("reason", BAD_TARS)
def test_bad_tars_are_refused(tmp_path: Path, reason: str) -> None:
    assert reason in refusal(tmp_path / "plain", BAD_TARS[reason])
    if reason not in ("zstd", "neither a zip nor a tar"):
        assert reason in refusal(tmp_path / "gz", gzip.compress(BAD_TARS[reason]))


def test_compressed_tars_that_are_cut_or_changed_are_refused(tmp_path: Path) -> None:
    for form in ("tar.gz", "tar.bz2", "tar.xz"):
        whole = FORMS[form]
        assert "cut off" in refusal(tmp_path / f"{form}1", whole[:-5])
        assert refusal(tmp_path / f"{form}2", whole[:60] + bytes([whole[60] ^ 1]) + whole[61:])


def test_bombs_are_refused_before_or_as_they_go_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "RATIO_FREE_BYTES", 1 << 20)
    zeros = bytes(8 << 20)
    liar = Part(b"a/2", zeros, method=8, size=10)
    for number, bomb in enumerate((
        zip_of({"a/1": zeros}),
        zipped(Part(b"a/1"), liar),
        *(tar_of({"a/1": zeros}, mode) for mode in ("w:gz", "w:bz2", "w:xz")),
        gzip.compress(pax({}) * 40_000 + END),  # headers without a single file
    )):  # fmt: skip
        found = refusal(tmp_path / str(number), bomb)
        assert "unpacks to more than" in found or "more bytes than it says" in found
    quoted = zipped(Part(b"a/1", b"x" * 50), Part(b"a/2", b"x" * 50, at=20))
    assert "overlap" in refusal(tmp_path / "quoted", quoted)


def test_limits_are_those_of_the_service(tmp_path: Path) -> None:
    assert "unpacks to more" in refusal(tmp_path / "0", FORMS["zip"], Limits(1000))
    assert "unpacks to more" in refusal(tmp_path / "1", FORMS["tar"], Limits(1000))
    few = Limits(1 << 20, entries=3)
    for form in ("zip", "tar"):
        assert "at most 3" in (found := refusal(tmp_path / form, FORMS[form], few)) or "more than 3" in found
    folders = b"".join(header(b"f%d/" % number, kind=b"5") for number in range(9)) + END
    assert "more than 3" in refusal(tmp_path / "folders", folders, few)
    deep = entry(b"a/b/c/d/1") + END
    assert "more than 3" in refusal(tmp_path / "deep", deep, few)


def test_a_disk_that_must_keep_room_is_told_apart(tmp_path: Path) -> None:
    for form in ("zip", "tar.gz"):
        with pytest.raises(RunFailure) as refused:
            unpacked(tmp_path / form, FORMS[form], Limits(1 << 30, free_bytes=1 << 60))
        assert refused.value.failure.code == FailureCode.DISK_FULL
        assert list((tmp_path / form).iterdir()) == []


PROGRAM = """
import resource, sys
from pathlib import Path
from worker.training.archives.refusals import Limits
from worker.training.archives.unpack import unpack
folder = Path(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
unpack(folder / "archive", folder / "files", Limits(1 << 40))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder)], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("form", ["zip", "tar"])
def test_memory_does_not_grow_with_the_archive(tmp_path: Path, form: str) -> None:
    """400 MB in one file and 20,000 small ones: 400 MB in memory would be seen."""
    large = os.urandom(1 << 20) * 400
    files = {"a/large": large} | {f"b/{number}": b"x" for number in range(20_000)}
    (tmp_path / "archive").write_bytes(zip_of(files, 0) if form == "zip" else tar_of(files))
    with start(tmp_path) as program:
        grown_kb = int(program.communicate(timeout=300)[0])
    assert (tmp_path / "files" / "a" / "large").stat().st_size == len(large)
    assert grown_kb < 60_000


def test_a_program_that_is_killed_is_followed_by_one_that_starts_anew(tmp_path: Path) -> None:
    files = {f"a/{number}": os.urandom(20_000) for number in range(3_000)}
    archive = tmp_path / "archive"
    archive.write_bytes(tar_of(files))
    for files_there in (1, 1_000, 2_999):
        with start(tmp_path) as program:
            while program.poll() is None and len(list(tmp_path.glob("files.*.part/a/*"))) < files_there:
                time.sleep(0.01)
            program.send_signal(signal.SIGKILL)
        assert archive.exists() != (tmp_path / "files").exists() or (tmp_path / "files").exists()
    unpack(archive, tmp_path / "files", LIMITS)
    assert content(tmp_path / "files") == files
    assert [entry.name for entry in tmp_path.iterdir()] == ["files"]


def test_what_was_unpacked_is_not_unpacked_again(tmp_path: Path) -> None:
    folder = unpacked(tmp_path, FORMS["zip"])
    assert content(unpacked(tmp_path, b"what a killed program had not removed yet")) == content(folder) == FILES


def test_the_test_of_memory_can_see() -> None:
    """The measure that it takes is in kB here, as on every Linux."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    held = os.urandom(1) * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + (50 << 20))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before > 40_000
    assert held


@pytest.mark.parametrize("form", FORMS)
def test_how_far_it_is_is_told(tmp_path: Path, form: str) -> None:
    told: list[tuple[int, int, int]] = []
    (tmp_path / "archive").write_bytes(FORMS[form])
    unpack(tmp_path / "archive", tmp_path / "files", LIMITS, lambda *numbers: told.append(numbers))
    assert [files for files, _, _ in told] == [1, 2, 3, 4]
    seen = [read for _, read, _ in told]
    assert seen == sorted(seen)
    assert 0 < seen[0] <= seen[-1] <= len(FORMS[form])
    assert {size for _, _, size in told} == {len(FORMS[form])}


@pytest.mark.parametrize("form", ["zip", "tar.gz"])
def test_a_disk_that_is_really_full_keeps_nothing(tmp_path: Path, form: str) -> None:
    files = {f"a/{number}": bytes(300_000) for number in range(10)}
    archive = zip_of(files) if form == "zip" else tar_of(files, "w:gz")
    with small_disk(tmp_path / "disk", 2 << 20) as disk:
        with pytest.raises(RunFailure) as refused:
            unpacked(disk, archive)
        assert refused.value.failure.code == FailureCode.DISK_FULL
        assert list(disk.iterdir()) == []
        assert len(content(unpacked(disk, zip_of(dict(list(files.items())[:5]))))) == 5


def test_room_is_looked_at_again_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "LOOK_EVERY_BYTES", 1 << 10)
    disk = os.statvfs(tmp_path)
    free_bytes = disk.f_bavail * disk.f_frsize
    assert free_bytes > 0
    archive = entry(b"a/1", bytes(1 << 20)) + padded(b"") + END
    assert content(unpacked(tmp_path, archive, Limits(1 << 30, free_bytes=free_bytes // 2))) == {"a/1": bytes(1 << 20)}
