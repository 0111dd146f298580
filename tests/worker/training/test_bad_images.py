"""Image files of every unhappy kind: used with the right pixels or named with the reason, in bounded memory."""

import io
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from app.contract.failures import FailureCode
from app.contract.work import ImportTask
from tests.support import image_sets
from tests.support.bad_images import REFUSED, USABLE, black_png, write_refused, write_usable
from tests.support.image_sets import image_folder, picture, write
from worker.training import augment, data, data_check
from worker.training.errors import RunFailure
from worker.training.image_check import check
from worker.training.image_files import decode

MEMORY_KB = 400_000
"""Of the whole check, libraries included; the huge image alone would take 5.9 GB."""


def as_pillow_reads(content: bytes) -> np.ndarray:
    """Upright RGB; Pillow clips 16-bit values where we keep the upper byte, so those are compared elsewhere."""
    with Pillow.open(io.BytesIO(content)) as image:
        exif = image.getexif().get(0x0112, 1)
        upright = image.transpose(Pillow.Transpose.ROTATE_270) if exif == 6 else image
        return np.asarray(upright.convert("RGB"))


@pytest.mark.parametrize("name", [name for name in USABLE if not name.startswith("16_bit")])
def test_usable_files_have_the_pixels_that_pillow_reads(name: str) -> None:
    content = USABLE[name]()
    expected = as_pillow_reads(content)
    found = decode(content, 3)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= (2 if "cmyk" in name else 1)


@pytest.mark.parametrize("name", ["16_bit.png", "16_bit_gray.tiff"])
def test_16_bit_files_keep_their_upper_byte(name: str) -> None:
    expected = picture(1) if "gray" not in name else picture(1)[..., :1]
    np.testing.assert_array_equal(decode(USABLE[name](), expected.shape[2]), expected)


def test_a_huge_png_is_whole_and_small() -> None:
    small = black_png(300, 40)
    np.testing.assert_array_equal(np.asarray(Pillow.open(io.BytesIO(small))), np.zeros((300, 40, 3), np.uint8))
    assert 2_500_000 < len(REFUSED["huge.png"][0]()) < 4_500_000


# A small process in between: the peak of one that this test starts would begin with what this test has itself.
MEASURED = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def check_apart(folder: Path, share: float) -> tuple[int, dict, int]:
    """Exit code, answer and peak memory in kB of the check in a process of its own."""
    task = ImportTask(source={"kind": "folder", "path": "x"}, path=str(folder), bad_image_share=share)  # type: ignore[arg-type]
    request, out = folder.parent / "request.json", folder.parent / "out.json"
    request.write_text(task.model_dump_json())
    command = [sys.executable, "-c", MEASURED, sys.executable, "-m", data_check.__name__, str(request), str(out)]
    told = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout.split()
    return int(told[0]), json.loads(out.read_text()), int(told[1])


def test_a_folder_of_everything_is_sorted_into_used_and_named_in_bounded_memory(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", {"cat": 2, "dog": 2})
    used = write_usable(folder / "dog")
    reasons = write_refused(folder / "cat")
    write(folder / "cat" / "folder.jpg" / "inside.png", USABLE["alpha.png"]())
    code, facts, peak_kb = check_apart(folder, 0.5)
    assert code == 0
    assert facts["classes"] == {"cat": 3, "dog": 2 + len(used)}
    assert {each["name"]: each["reason"] for each in facts["refused"]} == {
        f"cat/{name}": reason for name, reason in reasons.items()
    }
    assert facts["refused_count"] == len(reasons)
    assert facts["image_sizes"] == {"min_height": 1, "max_height": 30_000, "min_width": 1, "max_width": 30_000}
    assert peak_kb < MEMORY_KB


def test_beyond_the_share_the_set_is_refused_with_names_that_fit_into_the_message(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", {"cat": 50, "dog": 50})
    for number in range(12):
        write(folder / "cat" / f"{number}{'long' * 60}.png", b"")
    code, failure, _ = check_apart(folder, 0.01)
    assert code == 1
    assert failure["code"] == FailureCode.BAD_DATASET
    assert failure["message"].startswith("12 of 112 files cannot be used")
    assert len(failure["message"]) < 4000


def test_what_is_told_of_refused_files_fits_into_a_report(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", {"cat": 2, "dog": 2})
    for number in range(1100):
        write(folder / "cat" / f"{number:04d}{'y' * 240}.png", b"")
    manifest = check(str(folder), 1.0)
    assert manifest.refused_count == 1100
    assert 100 < len(manifest.refused) < 1000
    assert sum(len(each.model_dump_json()) for each in manifest.refused) <= 100_000


def test_folders_in_folders_without_end_are_refused_by_name(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", {"cat": 2, "dog": 2})
    deep = os.open(folder / "cat", os.O_RDONLY)
    for _ in range(1500):  # deeper than Python's stack, longer than a path may be
        os.mkdir("d", dir_fd=deep)
        below = os.open("d", os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = below
    os.close(deep)
    (refused,) = check(str(folder), 0.5).refused
    assert refused.name == "cat" + "/d" * 51
    assert refused.reason == "lies more than 50 folders below its class"
    subprocess.run(["rm", "-r", str(folder)], check=True)  # pytest's own removal recurses


@pytest.mark.parametrize("kind", ["resize", "random_crop"])
def test_images_of_every_odd_shape_can_be_trained_on(tmp_path: Path, kind: str) -> None:
    folder = image_folder(tmp_path / "set", {"cat": 2, "dog": 2})
    write_usable(folder / "cat")
    step = {"kind": kind, "size": [8, 8]} | ({"scale": [0.5, 1.0]} if kind == "random_crop" else {})
    dataset = {"kind": "folder", "path": str(folder)}
    order = image_sets.order(
        tmp_path / "run", dataset, folder, augment=[step, {"kind": "random_rotate", "degrees": 20}]
    )
    loaded = data.load(order)
    pipeline = augment.compile(order.spec)
    images = [loaded.train.read(index) for index in range(len(loaded.train))]
    batch_NHWC = pipeline.train_NHWC(images, np.arange(len(images)), 0)
    assert batch_NHWC.shape == (len(images), 8, 8, 3)


def test_memory_that_runs_out_is_not_blamed_on_the_image(tmp_path: Path) -> None:
    """In a process that may allocate next to nothing."""
    file = write(tmp_path / "large.png", black_png(9000, 9000))
    program = f"""
import resource
from pathlib import Path
from worker.training.image_files import decode
content = Path({str(file)!r}).read_bytes()
(line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData:")]
limit = (int(line.split()[1]) << 10) + (50 << 20)
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
try:
    decode(content, 3)
except MemoryError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.startswith("An image of ")


def test_a_file_that_shrinks_to_nothing_after_the_check_ends_the_run_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINYARD_CACHE_BYTES", "0")
    folder = image_folder(tmp_path / "set", {"cat": 3, "dog": 3})
    loaded = data.load(image_sets.order(tmp_path / "run", {"kind": "folder", "path": str(folder)}, folder))
    for file in folder.rglob("*.png"):
        file.write_bytes(zlib.compress(b""))
    with pytest.raises(RunFailure, match="png has changed since the data set was checked"):
        loaded.train.read(0)
