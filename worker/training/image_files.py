"""One image file: what it is, whether it is whole, and its pixels.

What a file is stands in its first bytes, not in its name. EXIF orientation is applied; palettes are expanded; 16-bit
values lose their lower byte; CMYK becomes RGB; alpha is dropped, as in Pillow's `convert("RGB")` (TIFF alone comes
blended over black); one frame or page is read, the first.
"""

import re
import zlib
from collections.abc import Callable
from os import path
from pathlib import Path
from stat import S_ISREG

import numpy as np
import numpy.typing as npt

from worker.training.opencv import MAX_PIXELS, cv2

# H W = height and width, C = channels: 1 luminance or 3 RGB

Image = npt.NDArray[np.uint8]

MAX_FILE_BYTES = 256 * 2**20
_FLAGS = {1: cv2.IMREAD_GRAYSCALE, 3: cv2.IMREAD_COLOR_RGB}
_REDUCED = {
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,  # of colour too: the flags for colour differ in the order of channels alone
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
_JPEG = rb"\xff\xd8\xff"


class Unusable(Exception):
    """The file cannot be trained on; its text says why."""


def read(folder: str, name: str) -> bytes:
    """The content of a file of a data set. `folder` has no links in it. Raises Unusable, also for a link that leads
    out of the folder and for what is no regular file."""
    real = path.realpath(f"{folder}/{name}")
    if path.commonpath([folder, real]) != folder:
        raise Unusable("is a link that leads out of the data set's folder")
    try:
        found = Path(real).stat()
        if not S_ISREG(found.st_mode):
            raise Unusable("is not a regular file")
        if found.st_size > MAX_FILE_BYTES:
            raise Unusable(f"is larger than {MAX_FILE_BYTES // 2**20} MiB")
        return Path(real).read_bytes()
    except OSError as error:
        raise Unusable(f"cannot be read: {error.strerror}") from error


def decode(content: bytes, channels: int, factor: int = 1) -> Image:
    """The pixels, H x W x C. Raises Unusable.

    A JPEG can be decoded at a half, quarter or eighth of its size (`factor` 2, 4, 8), which costs a fraction: each
    pixel is then the mean of a block, as in `reduced`, but found from the file's coefficients.
    """
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), _FLAGS[channels] | _REDUCED[factor])
    except cv2.error as error:
        if error.code == cv2.Error.STS_NO_MEM:
            raise MemoryError(f"An image of {len(content)} bytes does not fit into memory.") from error
        if "CV_IO_MAX_IMAGE" in str(error):
            raise Unusable(f"has more than {MAX_PIXELS:,} pixels") from error
        raise Unusable("cannot be decoded") from error
    if image is None:
        raise Unusable("cannot be decoded")
    return np.ascontiguousarray(image.reshape(*image.shape[:2], channels), np.uint8)


def reduced(image_HWC: Image, factor: int) -> Image:
    """Each block of factor x factor pixels as its mean; blocks that end beyond the image repeat its edge."""
    if factor == 1:
        return image_HWC
    height, width, channels = image_HWC.shape
    flat = image_HWC[..., 0] if channels == 1 else image_HWC
    padded = cv2.copyMakeBorder(flat, 0, -height % factor, 0, -width % factor, cv2.BORDER_REPLICATE)
    size = padded.shape[1] // factor, padded.shape[0] // factor
    small = cv2.resize(padded, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(small.reshape(size[1], size[0], channels), np.uint8)


def jpeg_size(content: bytes) -> tuple[int, int] | None:
    """(h, w) that a JPEG's header tells, before any orientation; null for what is none."""
    if not re.match(_JPEG, content):
        return None
    position = 2
    while position + 9 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker in _JPEG_FRAMES:
            height = int.from_bytes(content[position + 5 : position + 7], "big")
            width = int.from_bytes(content[position + 7 : position + 9], "big")
            return (height, width) if height and width else None
        if marker == 0xFF:  # filling
            position += 1
            continue
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    return None


def verify(content: bytes) -> str:
    """The format: jpeg, png, webp, bmp or tiff. Raises Unusable for what is none of them, or only a part of one.

    Decoders fill what is missing with grey, black or what was in memory, and call that a success.
    """
    if not content:
        raise Unusable("is empty")
    for name, (signature, is_whole) in _FORMATS.items():
        if re.match(signature, content, re.DOTALL):
            if not is_whole(content):
                raise Unusable("is damaged or cut off")
            return name
    raise Unusable("is not a JPEG, PNG, WebP, BMP or TIFF image")


# In coded JPEG data 0xFF is followed by 0 (a stuffed byte) or by a restart marker; anything else ends the scan.
_JPEG_END_OF_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_JPEG_SCAN, _JPEG_END = 0xDA, 0xD9
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # the other three hold tables


def _jpeg_is_whole(content: bytes) -> bool:
    """Walks the segments, so that the end of a thumbnail inside one is not taken for the end of the image."""
    position = 2
    has_scan = False
    while match := _JPEG_END_OF_SCAN.search(content, position):
        marker = content[match.start() + 1]
        if marker == _JPEG_END:
            return has_scan
        has_scan |= marker == _JPEG_SCAN
        length = int.from_bytes(content[match.end() : match.end() + 2], "big")
        position = match.end() + length
    return False


def _png_is_whole(content: bytes) -> bool:
    """All chunks up to the last are there, with the right checksums."""
    position = 8
    while position + 12 <= len(content):
        end = position + 8 + int.from_bytes(content[position : position + 4], "big")
        kind = content[position + 4 : position + 8]
        if zlib.crc32(memoryview(content)[position + 4 : end]) != int.from_bytes(content[end : end + 4], "big"):
            return False
        if kind == b"IEND":
            return end + 4 <= len(content)
        position = end + 4
    return False


def _webp_is_whole(content: bytes) -> bool:
    return len(content) >= 8 + int.from_bytes(content[4:8], "little")


def _bmp_is_whole(content: bytes) -> bool:
    """Camera-made BMPs may count wrongly; the pixel data must at least begin inside the file."""
    return int.from_bytes(content[10:14], "little") < len(content)


def _left_to_the_decoder(_content: bytes) -> bool:
    return True


_FORMATS: dict[str, tuple[bytes, Callable[[bytes], bool]]] = {
    "jpeg": (_JPEG, _jpeg_is_whole),
    "png": (rb"\x89PNG\r\n\x1a\n", _png_is_whole),
    "webp": (rb"RIFF....WEBP", _webp_is_whole),
    "bmp": (rb"BM", _bmp_is_whole),
    # strips may lie anywhere, and the decoder misses lost ones
    "tiff": (rb"II[*+]\x00|MM\x00[*+]", _left_to_the_decoder),
}
