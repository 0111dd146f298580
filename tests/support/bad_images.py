"""Files as people really bring them: odd but usable images, and what is no image at all."""

import io
import os
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from tests.support.image_sets import encoded, picture, write

NO_IMAGE = "is not a JPEG, PNG, WebP, BMP or TIFF image"
DAMAGED = "is damaged or cut off"
UNDECODABLE = "cannot be decoded"
IRREGULAR = "is not a regular file"
_BLOCK_ROWS = 100


def saved(image: Pillow.Image, format: str, **options: Any) -> bytes:
    """An image as Pillow writes it."""
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """Of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(height: int, width: int, compressed: bytes) -> bytes:
    """An 8-bit RGB PNG around a zlib stream of its rows."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", compressed) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def black_png(height: int, width: int) -> bytes:
    """A complete, valid, black PNG of any size in a moment: the same compressed block of rows, again and again.

    zlib's checksum of n zeros is (n mod 65521, 1).
    """
    assert height % _BLOCK_ROWS == 0
    block = zlib.compressobj(9, zlib.DEFLATED, -15)
    rows = block.compress(bytes(_BLOCK_ROWS * (1 + 3 * width))) + block.flush(zlib.Z_FULL_FLUSH)
    zeros = height * (1 + 3 * width)
    stream = b"\x78\xda" + rows * (height // _BLOCK_ROWS) + b"\x03\x00" + struct.pack(">HH", zeros % 65521, 1)
    return png(height, width, stream)


def _bind(path: Path) -> None:
    """Its path may be longer than a socket's address can be."""
    with socket.socket(socket.AF_UNIX) as made:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            made.bind(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)


def _photo() -> Pillow.Image:
    return Pillow.fromarray(picture(5, 20, 30))


def _turned() -> bytes:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    return saved(_photo(), "JPEG", exif=exif)


USABLE: dict[str, Callable[[], bytes]] = {
    "16_bit.png": lambda: encoded(picture(1).astype(np.uint16) * 257, ".png"),  # type: ignore[arg-type]
    "16_bit_gray.tiff": lambda: encoded(picture(1)[..., 0].astype(np.uint16) * 257, ".tiff"),  # type: ignore[arg-type]
    "palette.png": lambda: saved(_photo().quantize(8), "PNG", transparency=3),
    "gray.jpg": lambda: saved(_photo().convert("L"), "JPEG"),
    "gray_alpha.png": lambda: saved(_photo().convert("LA"), "PNG"),
    "cmyk.jpg": lambda: saved(_photo().convert("CMYK"), "JPEG", quality=95),
    "alpha.png": lambda: saved(_photo().convert("RGBA"), "PNG"),
    "one_bit.png": lambda: saved(_photo().convert("1"), "PNG"),
    "turned.jpg": _turned,
    "progressive.jpg": lambda: saved(_photo(), "JPEG", progressive=True),
    "animated.png": lambda: saved(_photo(), "PNG", save_all=True, append_images=[_photo().rotate(180)]),
    "animated.webp": lambda: saved(_photo(), "WEBP", save_all=True, append_images=[_photo().rotate(180)]),
    "pages.tiff": lambda: saved(_photo(), "TIFF", save_all=True, append_images=[_photo().rotate(180)]),
    "really_a_png.jpg": lambda: saved(_photo(), "PNG"),
    "no_extension": lambda: saved(_photo(), "JPEG"),
    "one_pixel.png": lambda: encoded(picture(2, 1, 1), ".png"),
    "line.png": lambda: encoded(picture(2, 1, 30_000), ".png"),
    "column.jpg": lambda: encoded(picture(2, 30_000, 1), ".jpg"),
    "new\nline.png": lambda: saved(_photo(), "PNG"),
    "x" * 240 + ".png": lambda: saved(_photo(), "PNG"),
}
REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "cut.jpg": (lambda: saved(_photo(), "JPEG")[:-40], DAMAGED),
    "cut_progressive.jpg": (lambda: saved(_photo(), "JPEG", progressive=True)[:-40], DAMAGED),
    "cut.png": (lambda: saved(_photo(), "PNG")[:-60], DAMAGED),
    "rows_missing.png": (lambda: png(20, 30, zlib.compress(bytes(91 * 3))), UNDECODABLE),
    "text.jpg": (lambda: b"<html>404</html>", NO_IMAGE),
    "film.gif": (lambda: saved(_photo(), "GIF"), NO_IMAGE),
    "empty.jpg": (lambda: b"", "is empty"),
    "zeros.jpg": (lambda: bytes(5000), NO_IMAGE),
    "no_pixels.png": (lambda: png(0, 5, zlib.compress(b"")), UNDECODABLE),
    "huge.png": (lambda: black_png(32_000, 32_000), "has more than 100,000,000 pixels"),
}
IRREGULAR_FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "pipe.jpg": (os.mkfifo, IRREGULAR),
    "socket.jpg": (_bind, IRREGULAR),
    "away.jpg": (lambda path: path.symlink_to("/etc/hostname"), "is a link that leads out of the data set's folder"),
    "endless.jpg": (lambda path: path.symlink_to("/dev/zero"), "is a link that leads out of the data set's folder"),
    "circle.jpg": (lambda path: path.symlink_to(path.name), "cannot be read: Too many levels of symbolic links"),
    "dangling.jpg": (lambda path: path.symlink_to("nothing.jpg"), "cannot be read: No such file or directory"),
    "folders.jpg": (lambda path: path.symlink_to("."), "is a link to a folder; links to folders are not followed"),
}


def write_usable(folder: Path) -> list[str]:
    """The odd but usable files; their names."""
    for name, content in USABLE.items():
        write(folder / name, content())
    return list(USABLE)


def write_refused(folder: Path) -> dict[str, str]:
    """What cannot be trained on; reasons by name."""
    for name, (content, _) in REFUSED.items():
        write(folder / name, content())
    for name, (make, _) in IRREGULAR_FILES.items():
        make(folder / name)
    (folder / os.fsdecode(b"latin1_\xe9.png")).write_bytes(saved(_photo(), "PNG"))
    reasons = {name: reason for name, (_, reason) in (REFUSED | IRREGULAR_FILES).items()}  # type: ignore[operator]
    return reasons | {"latin1_\\udce9.png": "has a name that is not UTF-8"}
