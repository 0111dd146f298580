"""A registered data set: a folder that the service knows, with the content that it had when it was registered."""

from collections.abc import Iterator
from pathlib import Path

from app.contract.data import Registered
from app.contract.work import RunOrder
from worker.training import image_table
from worker.training.cache.index import Index
from worker.training.data import Listing, Opened
from worker.training.data.folder import ImageFolder
from worker.training.errors import bad_spec
from worker.training.layouts import TRAIN, VALIDATION, bad, short
from worker.training.notes import Tell

_NAMED = 10


def build(spec: Registered, order: RunOrder) -> "RegisteredFolder":
    """Only the service knows where the folder of an id is."""
    if order.paths.dataset is None:
        raise bad_spec("/dataset/id", "A registered data set needs the service: give its folder in paths.dataset.")
    table = order.paths.dataset_files
    sha256 = order.paths.dataset_sha256
    folder = ImageFolder(order.paths.dataset, order, sha256)
    return RegisteredFolder(folder, sha256, Path(table) if table else None)


class RegisteredFolder:
    """The folder, refused when its content is another one than was registered. `table`: what it was, file by file."""

    def __init__(self, folder: ImageFolder, sha256: str | None, table: Path | None = None) -> None:
        self._folder = folder
        self._sha256 = sha256
        self._table = table

    def list(self) -> Listing:
        """Of the content that is kept, or by name only; that is compared when it is opened."""
        return self._folder.list()

    def open(self, channels: int, tell: Tell, *, keep: bool) -> Opened:
        """What the worker keeps of this very content needs no file; otherwise every file is read, and hashed."""
        opened = self._folder.open(channels, tell, keep=keep)
        if self._sha256 not in (None, opened.sha256):
            what = _told(self._table, self._folder.index()) if self._table else ""
            raise bad(f"The files have changed since the data set was registered{what}: register it again.")
        return opened


def _told(table: Path, now: Index) -> str:
    """What has changed, as a clause; nothing where the table cannot be read."""
    try:
        changes = list(_changes(table, now))
    except (OSError, ValueError, IndexError):
        return ""
    more = f" and {len(changes) - _NAMED} more" if len(changes) > _NAMED else ""
    return f" ({'; '.join(changes[:_NAMED])}{more})" if changes else ""


def _changes(table: Path, now: Index) -> Iterator[str]:
    parts = (TRAIN, VALIDATION) if now.has_validation else ("", "")
    left = {
        name: (now.classes[label], parts[held], content.tobytes().hex())
        for name, label, held, content in zip(
            now.names, now.labels_N.tolist(), now.in_validation_N.tolist(), now.contents_N32, strict=True
        )
    }
    for path, label, part, sha256 in image_table.used(table):
        found = left.pop(path, None)
        if found is None:
            yield f"{short(path)} is missing or cannot be used"
        elif found[2] != sha256:
            yield f"{short(path)} has another content"
        elif found[:2] != (label, part):
            yield f"{short(path)} has another class or part"
    yield from (f"{short(path)} is new" for path in left)
