"""Where a data set's folder may lie, and what it must look like for a job to be worth accepting.

Only what a listing tells: no image is opened here (that is a worker's task), and each class is looked into only until
its first file, so that a set of a million images costs what one of ten costs. Of a CSV file that lists the images, the
first rows are read.
"""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from app.contract import labels_file
from app.errors import InvalidSpec
from app.settings import Settings

SPLITS = ("train", "val")
MOST_ROWS = 10_000
"""Of a list of images: they take 20 ms. Where all of them are of one class, the worker sees whether others follow."""


def checked_folder(settings: Settings, path: str, pointer: str) -> Path:
    """The folder, absolute and without links, when it can be trained on; else `InvalidSpec` at `pointer`."""
    folder = _resolved(settings, path, pointer)
    try:
        listed_in = labels_file.find(folder)
        if listed_in is not None:
            _check_list(folder, listed_in, pointer)
            return folder
        classes = list(_classes(settings, folder, pointer))
    except labels_file.Unreadable as error:
        raise _refused(pointer, "bad_list", str(error)) from error
    except PermissionError as error:
        raise _refused(pointer, "unreadable", f"The service may not read {error.filename}.") from error
    if len(classes) < 2:
        found = f"only the class '{classes[0]}'" if classes else "no images in sub-folders"
        detail = f"The folder has {found}: a classifier needs one sub-folder for each of at least two classes, or a "
        detail += f"{labels_file.NAME} with the columns path and label."
        raise _refused(pointer, "one_class" if classes else "empty", detail)
    return folder


def _check_list(folder: Path, name: str, pointer: str) -> None:
    """Raise when the whole list was read and there are not two classes in it."""
    labels: set[str] = set()
    count = 0
    for row in islice(labels_file.rows(folder, name), MOST_ROWS):
        count += 1
        if not row.refusal:
            labels.add(row.label)
        if len(labels) > 1:
            return
    if count < MOST_ROWS:
        found = f"only the class '{min(labels)}'" if labels else "no image with a label"
        detail = f"{name} has {found}: a classifier needs at least two classes."
        raise _refused(pointer, "one_class" if labels else "empty", detail)


def _resolved(settings: Settings, path: str, pointer: str) -> Path:
    if "\x00" in path:
        raise _refused(pointer, "bad_path", "A path cannot contain a NUL character.")
    candidates = [Path(path)] if Path(path).is_absolute() else [root / path for root in settings.roots]
    try:
        found = [each.resolve() for each in candidates if each.is_dir()]
    except (OSError, ValueError) as error:
        raise _refused(pointer, "bad_path", f"The path cannot be read: {error}.") from error
    inside = [each for each in found if is_under_a_root(settings, each)]
    if inside:
        return inside[0]
    roots = ", ".join(str(root) for root in settings.roots)
    if found or not any(_lies_under_a_root(settings, each) for each in candidates):
        detail = f"The folder must lie under one of the data roots ({roots}), also after links are followed."
        raise _refused(pointer, "outside_roots", detail)
    raise _refused(pointer, "missing", f"There is no such folder under the data roots ({roots}).")


def is_under_a_root(settings: Settings, resolved: Path) -> bool:
    """Whether a path without links lies in a data root."""
    return any(resolved.is_relative_to(root.resolve()) for root in settings.roots)


def _lies_under_a_root(settings: Settings, path: Path) -> bool:
    """The same for a path that need not exist, by its text."""
    plain = Path(os.path.normpath(path))
    return any(plain.is_relative_to(each) for root in settings.roots for each in (root, root.resolve()))


def _classes(settings: Settings, folder: Path, pointer: str) -> Iterator[str]:
    """Names of the sub-folders that hold at least one file, of `train/` where there is one."""
    split = folder / SPLITS[0]
    for entry in sorted(_entries(split if split.is_dir() else folder), key=lambda entry: entry.name):
        if not entry.is_dir():
            continue
        if entry.is_symlink() and not is_under_a_root(settings, Path(entry.path).resolve()):
            raise _refused(pointer, "outside_roots", f"'{entry.name}' is a link that leads out of the data roots.")
        if any(inner.is_file() for inner in _entries(Path(entry.path))):
            yield entry.name


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        yield from (entry for entry in entries if not entry.name.startswith("."))


def _refused(pointer: str, code: str, detail: str) -> InvalidSpec:
    return InvalidSpec.at(pointer, code, detail)
