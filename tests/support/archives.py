"""Archives made byte by byte, so that they can say what no program would write."""

import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Part:
    """One entry of a zip file. What is None follows from the content."""

    name: bytes
    content: bytes = b"x"
    method: int = 0
    flags: int = 0
    mode: int = 0o100644
    packed: bytes | None = None
    size: int | None = None
    crc: int | None = None
    local: Mapping[str, Any] = field(default_factory=dict)
    """What the entry's own header says instead."""
    at: int | None = None
    """Where the directory says that it is."""
    extra: bytes = b""

    def data(self) -> bytes:
        """As it is stored."""
        if self.packed is not None:
            return self.packed
        engine = zlib.compressobj(9, wbits=-15)
        return engine.compress(self.content) + engine.flush() if self.method == 8 else self.content


def zipped(*parts: Part, comment: bytes = b"", before: bytes = b"", **end: int) -> bytes:
    """A zip file; `end` changes fields of its end record: count, start, size, disk."""
    out, directory = bytearray(before), bytearray()
    for part in parts:
        data = part.data()
        told: dict[str, Any] = {
            "name": part.name,
            "flags": part.flags,
            "method": part.method,
            "crc": zlib.crc32(part.content) if part.crc is None else part.crc,
            "packed": len(data),
            "size": len(part.content) if part.size is None else part.size,
        }
        at = len(out) if part.at is None else part.at
        directory += _directory_entry(part, told, at)
        out += _local_header({**told, **part.local}) + data
    start = end.get("start", len(out))
    count = end.get("count", len(parts))
    size, disk = end.get("size", len(directory)), end.get("disk", 0)
    return bytes(out + directory) + struct.pack(
        "<4s4H2LH", b"PK\5\6", disk, 0, count, count, size, start, len(comment)
    ) + comment  # fmt: skip


def _local_header(told: Mapping[str, Any]) -> bytes:
    sizes = (told["crc"], told["packed"], told["size"])
    name = told["name"]
    return struct.pack("<4s5H3L2H", b"PK\3\4", 20, told["flags"], told["method"], 0, 0, *sizes, len(name), 0) + name


def _directory_entry(part: Part, told: Mapping[str, Any], at: int) -> bytes:
    sizes = (told["crc"], told["packed"], told["size"])
    lengths = (len(part.name), len(part.extra), 0)
    head = (0x031E, 20, told["flags"], told["method"], 0, 0)
    return struct.pack("<4s6H3L5H2L", b"PK\1\2", *head, *sizes, *lengths, 0, 0, part.mode << 16, at) + (
        part.name + part.extra
    )


def header(name: bytes, size: int = 0, kind: bytes = b"0", magic: bytes = b"ustar\x0000", **more: bytes) -> bytes:
    """A header of tar, with the right checksum; `size_field` and `link` as bytes."""
    size_field = more.get("size_field", b"%011o\0" % size)
    block = name[:100].ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + size_field + b"00000000000\0"
    block += b" " * 8 + kind + more.get("link", b"").ljust(100, b"\0") + magic
    block = block.ljust(512, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def entry(name: bytes, content: bytes = b"x", kind: bytes = b"0", **more: bytes) -> bytes:
    """A header of tar with its content."""
    return header(name, len(content), kind, **more) + padded(content)


def padded(content: bytes) -> bytes:
    """With zeros up to the next block of 512 bytes."""
    return content + bytes(-len(content) % 512)


def pax(records: Mapping[bytes, bytes], kind: bytes = b"x") -> bytes:
    """An extension header of tar."""
    return entry(b"pax", b"".join(record(key, value) for key, value in records.items()), kind)


def record(key: bytes, value: bytes) -> bytes:
    """`LENGTH KEY=VALUE` and a line feed."""
    size = len(key) + len(value) + 3
    length = size + len(str(size + len(str(size))))
    return b"%d %s=%s\n" % (length, key, value)


END = bytes(1024)


def zip_of(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """As Python's own library writes one."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def tar_of(files: Mapping[str, bytes], mode: str = "w", kind: int = tarfile.PAX_FORMAT) -> bytes:
    """As Python's own library writes one; `mode` is "w", "w:gz", "w:bz2" or "w:xz"."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, format=kind) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def every_form(files: Mapping[str, bytes]) -> Iterable[tuple[str, bytes]]:
    """The same files in every form that is read, by its usual ending."""
    yield "zip", zip_of(files)
    yield "stored.zip", zip_of(files, zipfile.ZIP_STORED)
    yield "bzip2.zip", zip_of(files, zipfile.ZIP_BZIP2)
    for mode in ("w", "w:gz", "w:bz2", "w:xz"):
        yield f"tar{mode[1:].replace(':', '.')}", tar_of(files, mode)
    yield "gnu.tar", tar_of(files, kind=tarfile.GNU_FORMAT)
    yield "ustar.tar", tar_of(files, kind=tarfile.USTAR_FORMAT)
