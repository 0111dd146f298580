"""Files that a job leaves to its user: written whole or not at all, and described."""

import hashlib
import os
from pathlib import Path

from app.contract.events import ArtifactFile

_MEDIA_TYPES = {".json": "application/json", ".py": "text/x-python; charset=utf-8"}
"""Of artifacts; those of networks are bytes."""


def write(path: Path, data: bytes, media_type: str) -> ArtifactFile:
    """Into a file beside it, synced, then renamed: after a crash there is the old file or the new one."""
    unfinished = path.with_name(f".{path.name}.tmp")
    with unfinished.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return _artifact(path, len(data), hashlib.sha256(data).hexdigest(), media_type)


def described(path: Path) -> ArtifactFile:
    """A file that is there already."""
    media_type = _MEDIA_TYPES.get(path.suffix, "application/octet-stream")
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return _artifact(path, path.stat().st_size, sha256, media_type)


def _artifact(path: Path, size_bytes: int, sha256: str, media_type: str) -> ArtifactFile:
    return ArtifactFile(
        name=path.name,
        path=f"{path.parent.name}/{path.name}",
        size_bytes=size_bytes,
        sha256=sha256,
        media_type=media_type,
    )
