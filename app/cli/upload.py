"""Files of data sets on their way to the service: an archive as it is, a folder as a tar that is made on the way."""

import sys
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from app.cli.exits import CommandFailed
from app.cli.output import size

PIECE_BYTES = 1 << 18
BLOCK_BYTES = 512
TIMEOUT = httpx.Timeout(60.0, connect=5.0, read=600.0)
"""The answer comes when all is on the disk, which may take minutes for a large archive."""


def send(service: Any, name: str, path: Path) -> dict[str, Any]:
    """Make a data set of an archive or a folder of this machine. One that is not sent as a whole is deleted again."""
    if not path.exists():
        raise CommandFailed(f"there is no {path} on this machine.")
    dataset: dict[str, Any] = service.request(
        "POST", "/v1/datasets", json={"name": name, "source": {"kind": "upload"}}
    ).json()
    try:
        return _put(service, dataset["id"], path)
    except BaseException:
        with suppress(CommandFailed):
            service.request("DELETE", f"/v1/datasets/{dataset['id']}")
        raise


def _put(service: Any, dataset_id: str, path: Path) -> dict[str, Any]:
    total_bytes = None if path.is_dir() else path.stat().st_size
    headers = {} if total_bytes is None else {"Content-Length": str(total_bytes)}
    headers["Content-Type"] = "application/octet-stream" if total_bytes is not None else "application/x-tar"
    pieces = packed(path) if total_bytes is None else _read(path)
    try:
        answer: httpx.Response = service.request(
            "PUT",
            f"/v1/datasets/{dataset_id}/archive",
            content=_shown(pieces, path.name, total_bytes),
            headers=headers,
            timeout=TIMEOUT,
        )
    except OSError as error:
        raise CommandFailed(f"{error.filename} cannot be read: {error.strerror}.") from error
    shown: dict[str, Any] = answer.json()
    return shown


def packed(folder: Path) -> Iterator[bytes]:
    """The folder as a tar file, in the order of the names. Hidden files and links are left out."""
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_symlink() or any(part.startswith(".") for part in relative.parts):
            continue
        member = tarfile.TarInfo(str(relative))
        if path.is_dir():
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            yield member.tobuf(tarfile.PAX_FORMAT)
        elif path.is_file():
            member.size = path.stat().st_size
            yield member.tobuf(tarfile.PAX_FORMAT)
            yield from _exactly(path, member.size)
            yield bytes(-member.size % BLOCK_BYTES)
    yield bytes(2 * BLOCK_BYTES)


def _exactly(path: Path, size_bytes: int) -> Iterator[bytes]:
    """The file, as long as its header says. Raises `CommandFailed` when it has become shorter since."""
    for piece in _read(path):
        yield piece[:size_bytes]
        size_bytes -= len(piece)
        if size_bytes <= 0:
            return
    if size_bytes:
        raise CommandFailed(f"{path} became shorter while it was sent.")


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def _shown(pieces: Iterator[bytes], name: str, total_bytes: int | None) -> Iterator[bytes]:
    """The same pieces; on a terminal, with a bar or a count of what went out."""
    if not sys.stderr.isatty():
        yield from pieces
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"sending {name}", total=total_bytes)
        sent = 0
        for piece in pieces:
            yield piece
            sent += len(piece)
            progress.update(task, advance=len(piece))
    print(f"sent {name}: {size(sent)}", file=sys.stderr)
