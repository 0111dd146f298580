"""Every kind of file that people bring: read right, or refused with the reason."""

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from tests.support.image_sets import encoded, picture, write
from worker.training.image_files import Unusable, decode, read, verify

COLOUR = (200, 50, 20)


def plain(mode: str = "RGB") -> Pillow.Image:
    return Pillow.new("RGB", (30, 20), COLOUR).convert(mode)


def saved(image: Pillow.Image, format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def refusal(content: bytes) -> str:
    try:
        verify(content)
        decode(content, 3)
    except Unusable as error:
        return str(error)
    return "nothing"


MODES = {
    "JPEG": ["RGB", "L", "CMYK"],
    "PNG": ["RGB", "L", "P", "1"],
    "WEBP": ["RGB", "L"],
    "BMP": ["RGB", "L", "P", "1"],
    "TIFF": ["RGB", "L", "P", "CMYK", "1"],
}


@pytest.mark.parametrize(("format", "mode"), [(format, mode) for format, modes in MODES.items() for mode in modes])
def test_every_format_and_mode_becomes_rgb_or_luminance(format: str, mode: str) -> None:
    source = plain(mode) if mode != "P" else plain().quantize(4)
    content = saved(source, format, **({"quality": 95} if format in {"JPEG", "WEBP"} else {}))
    verify(content)
    rgb, gray = decode(content, 3), decode(content, 1)
    assert rgb.shape == (20, 30, 3)
    assert gray.shape == (20, 30, 1)
    assert rgb.dtype == gray.dtype == np.uint8
    expected = np.array(source.convert("RGB"))[10, 15]
    np.testing.assert_allclose(rgb[10, 15], expected, atol=3)
    np.testing.assert_allclose(gray[10, 15], expected @ [0.299, 0.587, 0.114], atol=3)


def test_16_bit_values_keep_their_upper_byte() -> None:
    values = (np.arange(600).reshape(20, 30) * 109).astype(np.uint16)
    for extension in (".png", ".tiff"):
        content = encoded(values, extension)
        verify(content)
        np.testing.assert_array_equal(decode(content, 1)[..., 0], values >> 8)


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_alpha_is_dropped_and_the_colours_under_it_stay(format: str) -> None:
    source = plain("RGBA")
    source.putalpha(0)
    content = saved(source, format, **({"lossless": True, "exact": True} if format == "WEBP" else {}))
    assert tuple(decode(content, 3)[10, 15]) == COLOUR


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_the_camera_is_applied(format: str, orientation: int) -> None:
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :16] = 255  # white at the left upper corner
    turns = {1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1]}
    turns |= {number + 4: view.transpose(1, 0, 2) for number, view in turns.items()}
    stored = {5: turns[5], 6: np.rot90(upright, 1), 7: upright[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(upright, -1)}
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    as_stored = np.ascontiguousarray(stored.get(orientation, turns[orientation]))
    content = saved(Pillow.fromarray(as_stored), format, exif=exif)
    np.testing.assert_allclose(decode(content, 3).astype(int), upright.astype(int), atol=30)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 100}], ids=str)
def test_a_cut_jpeg_is_refused_wherever_it_is_cut(options: dict[str, Any]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    content = saved(Pillow.fromarray(noise), "JPEG", **options)
    verify(content)
    for length in range(3, len(content) - 1, 37):
        with pytest.raises(Unusable):
            verify(content[:length])
    verify(content + b"\0" * 100)  # cameras pad their files


def test_the_end_of_an_embedded_thumbnail_is_not_taken_for_the_end_of_the_image() -> None:
    thumbnail = saved(plain(), "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    content = saved(Pillow.fromarray(picture(1, 40, 40)), "JPEG")
    with_thumbnail = content[:2] + segment + content[2:]
    verify(with_thumbnail)
    assert refusal(with_thumbnail[: len(segment) + 200]) == "is damaged or cut off"


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "BMP"])
def test_other_files_that_are_cut_are_refused(format: str) -> None:
    content = saved(Pillow.fromarray(picture(2, 40, 40)), format)
    for share in (0.3, 0.6, 0.95):
        assert refusal(content[: int(len(content) * share)]) in {"is damaged or cut off", "cannot be decoded"}


def test_a_png_with_a_flipped_bit_is_refused() -> None:
    content = bytearray(saved(Pillow.fromarray(picture(2, 40, 40)), "PNG"))
    content[len(content) // 2] ^= 1
    assert refusal(bytes(content)) == "is damaged or cut off"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"<html>not found</html>", "is not a JPEG, PNG, WebP, BMP or TIFF image"),
        (saved(plain(), "GIF"), "is not a JPEG, PNG, WebP, BMP or TIFF image"),
        (b"\xff\xd8\xff\xd9", "is damaged or cut off"),
        (b"BM" + bytes(100), "cannot be decoded"),
        (encoded(np.zeros((4, 4), np.float32), ".tiff"), "cannot be decoded"),  # type: ignore[arg-type]
    ],
    ids=["empty", "html", "gif", "no scan", "bmp header", "floats"],
)
def test_what_is_no_image_is_named(content: bytes, reason: str) -> None:
    assert refusal(content) == reason


def png(height: int, width: int) -> bytes:
    """An 8-bit RGB PNG, small on disk whatever it says its size is."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes(1 + 3 * width) * 100)  # the rest is missing: nobody must get that far
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_a_huge_image_in_a_small_file_is_refused_without_taking_the_memory(tmp_path: Path) -> None:
    file = write(tmp_path / "bomb.png", png(32_000, 32_000))
    program = f"""
import resource, sys
from worker.training.image_files import Unusable, decode, verify
content = open({str(file)!r}, "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    verify(content)
    decode(content, 3)
except Unusable as error:
    print(error)
assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000, "kB"
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "has more than 100,000,000 pixels\n"


def test_links_are_followed_inside_the_folder_only(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write(folder / "cats" / "1.png", b"one")
    write(tmp_path / "secret.png", b"secret")
    (folder / "cats" / "2.png").symlink_to(folder / "cats" / "1.png")
    (folder / "cats" / "3.png").symlink_to(tmp_path / "secret.png")
    (folder / "cats" / "4.png").symlink_to("../../secret.png")
    (folder / "cats" / "5.png").symlink_to("nowhere.png")
    assert read(str(folder), "cats/2.png") == b"one"
    for number in (3, 4):
        with pytest.raises(Unusable, match="leads out"):
            read(str(folder), f"cats/{number}.png")
    with pytest.raises(Unusable, match="No such file"):
        read(str(folder), "cats/5.png")


def test_what_is_no_regular_file_is_not_even_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait for ever
    with pytest.raises(Unusable, match="not a regular file"):
        read(str(tmp_path), "pipe.png")


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large.tiff").open("wb") as file:
        file.truncate(257 * 2**20)
    with pytest.raises(Unusable, match="larger than 256 MiB"):
        read(str(tmp_path), "large.tiff")
