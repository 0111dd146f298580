"""Downloads that go on where they broke off, and that count only when size and SHA-256 are right."""

import hashlib
from pathlib import Path
from typing import Any

from app.cli.exits import CommandFailed
from app.cli.service import Refused, Service

CHUNK_BYTES = 1 << 20
RANGE_NOT_SATISFIABLE = 416


def download(service: Service, job_id: str, artifact: dict[str, Any], folder: Path, force: bool = False) -> Path:
    """Fetch one artifact into `folder`; the file appears only when it is whole and has the right SHA-256.

    What an interrupted download left (`NAME.part`) is gone on from. Raises `CommandFailed` when another file of that
    name is there and `force` is false, or when the bytes that came are wrong twice.
    """
    target = folder / Path(artifact["name"]).name
    if target.exists() and sha256_of(target) == artifact["sha256"]:
        return target
    if target.exists() and not force:
        raise CommandFailed(f"{target} is there already and is another file.\n  Remove it, or add --force.")
    folder.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    # What was left may be of an older file: then it is fetched once more from its first byte.
    for _ in range(2):
        _fetch(service, f"/v1/jobs/{job_id}/artifacts/{artifact['name']}", part, artifact["size_bytes"])
        if sha256_of(part) == artifact["sha256"]:
            part.replace(target)
            return target
        part.unlink()
    raise CommandFailed(f"{artifact['name']} came with a wrong SHA-256 twice; nothing was kept.")


def sha256_of(path: Path) -> str:
    """The file's SHA-256, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(service: Service, path: str, part: Path, size_bytes: int) -> None:
    """Append what is missing to `part`; start over where the server does not serve ranges."""
    have = part.stat().st_size if part.exists() else 0
    if have == size_bytes:
        return
    headers = {"Range": f"bytes={have}-"} if 0 < have < size_bytes else {}
    try:
        with service.stream(path, headers=headers) as response, part.open("ab" if headers else "wb") as file:
            if headers and response.status_code != 206:
                file.truncate(0)
            for chunk in response.iter_bytes(CHUNK_BYTES):
                file.write(chunk)
    except Refused as refused:
        if refused.status != RANGE_NOT_SATISFIABLE:
            raise
        part.unlink()
