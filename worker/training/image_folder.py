"""The layout of a folder of images: one sub-folder per class, `train/` and `val/` with those inside, or a CSV file.

Only names are looked at here, so that a plan of a large set takes a second. Every order is the natural one of the
names ("9" before "10"), never the file system's.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from app.contract import labels_file
from app.contract.datasets import RefusedFile
from worker.training.layouts import TRAIN, VALIDATION, Layout, bad, few, natural
from worker.training.listed_images import survey_listed

__all__ = ["Layout", "bad", "natural", "survey"]

_LITTER = {"Thumbs.db", "desktop.ini", "__MACOSX"}  # what desktops leave behind; nobody meant it to be trained on
_DEEPEST = 50  # folders below a class folder: a tree of thousands would exhaust the stack, and then the path's length


def survey(folder: str) -> Layout:
    """Find the classes and files. Raises RunFailure(BAD_DATASET) when the folder is none of the three layouts.

    A `labels.csv`, or an only CSV file with the columns `path` and `label`, goes before folders. Otherwise hidden files
    are left out, and so is what lies beside the class folders. Below a class folder every file counts, at any depth.
    Links to folders are refused; links to files are judged when they are read.
    """
    root = Path(os.path.realpath(folder))
    if not root.is_dir():
        raise bad(f"There is no folder {folder} on this machine." if not root.exists() else f"{folder} is no folder.")
    if listed_in := _list_of(root):
        return survey_listed(root, listed_in)
    refused: list[RefusedFile] = []
    tops = _folders(root, "", refused)
    parts = (TRAIN, VALIDATION) if {TRAIN, VALIDATION} <= set(tops) else ("",)
    classes = [tops] if parts == ("",) else [_folders(root, part, refused) for part in parts]
    _check_classes(root, folder, tops, classes)
    layout = Layout(str(root), tuple(classes[0]), len(parts) == 2, refused=refused)
    for part in parts:
        for label, name in enumerate(layout.classes):
            _add_files(layout, f"{part}/{name}".lstrip("/"), label, in_validation=part == VALIDATION)
    return layout


def _list_of(root: Path) -> str | None:
    try:
        return labels_file.find(root)
    except labels_file.Unreadable as error:
        raise bad(str(error)) from error
    except OSError as error:
        raise bad(f"{root} cannot be listed: {error.strerror}.") from error


def _check_classes(root: Path, folder: str, tops: list[str], classes: list[list[str]]) -> None:
    if len(classes) == 2 and classes[0] != classes[1]:
        sides = ((TRAIN, set(classes[0]) - set(classes[1])), (VALIDATION, set(classes[1]) - set(classes[0])))
        odd = "; ".join(f"only in {part}/: {few(sorted(names, key=natural))}" for part, names in sides if names)
        raise bad(f"train/ and val/ must have the same classes, but {odd}.")
    if len(classes[0]) < 2:
        found = f"only {few(classes[0])}" if classes[0] else "none"
        alone = " There is a train/ but no val/ beside it: add it, or move its folders up." if tops == [TRAIN] else ""
        raise bad(
            f"{folder} needs a sub-folder for each of at least 2 classes; it has {found}.{alone}{_unused_lists(root)}"
        )


def _unused_lists(root: Path) -> str:
    """Why CSV files that are there do not count."""
    names = labels_file.csv_files(root)
    if not names:
        return ""
    return f" {few(names)} is not used: call it {labels_file.NAME}, with the columns path and label in its first line."


def _folders(root: Path, part: str, refused: list[RefusedFile]) -> list[str]:
    """Names of the folders in a part of the data set, in order."""
    found = []
    for entry in _entries(root / part):
        name = f"{part}/{entry.name}".lstrip("/")
        if entry.is_dir(follow_symlinks=False):
            found.append(entry.name) if _is_text(entry.name) else refused.append(_unreadable_name(name))
        elif _leads_to_folder(entry):
            refused.append(RefusedFile(name=name, reason="is a link to a folder; links to folders are not followed"))
    return found


def _add_files(layout: Layout, folder: str, label: int, *, in_validation: bool) -> None:
    for name, reason in _files(layout.folder, folder):
        if reason:
            layout.refused.append(RefusedFile(name=name, reason=reason))
        else:
            layout.names.append(name)
            layout.labels.append(label)
            layout.in_validation.append(in_validation)


def _files(root: str, folder: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Every file below a folder, with the reason why it is refused unread, or an empty one."""
    for entry in _entries(Path(root, folder)):
        name = f"{folder}/{entry.name}"
        if not _is_text(entry.name):
            yield _unreadable_name(name).name, _unreadable_name(name).reason
        elif entry.is_dir(follow_symlinks=False):
            if depth < _DEEPEST:
                yield from _files(root, name, depth + 1)
            else:
                yield name, f"lies more than {_DEEPEST} folders below its class"
        elif _leads_to_folder(entry):
            yield name, "is a link to a folder; links to folders are not followed"
        else:
            yield name, ""


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            entries = [entry for entry in found if not entry.name.startswith(".") and entry.name not in _LITTER]
    except OSError as error:
        raise bad(f"{folder} cannot be listed: {error.strerror}.") from error
    return sorted(entries, key=lambda entry: natural(entry.name))


def _leads_to_folder(link: os.DirEntry[str]) -> bool:
    """Whether a link ends at a folder; one that goes round in circles ends nowhere."""
    try:
        return link.is_dir()
    except OSError:
        return False


def _is_text(name: str) -> bool:
    """Names that are not UTF-8 come with surrogates, which neither JSON nor a log can carry."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _unreadable_name(name: str) -> RefusedFile:
    return RefusedFile(name=name.encode("utf-8", "backslashreplace").decode(), reason="has a name that is not UTF-8")
