"""The layout that a CSV file describes: `path,label`, and `part` where the data brings its own validation images."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from app.contract import labels_file
from app.contract.datasets import RefusedFile
from app.contract.labels_file import Row
from worker.training.layouts import VALIDATION, Layout, bad, few, natural


@dataclass
class _Listed:
    """What the rows come to. A path is a key once, with the row that named it first."""

    rows: dict[str, Row] = field(default_factory=dict)
    refused: list[RefusedFile] = field(default_factory=list)
    repeated: int = 0

    def take(self, row: Row) -> None:
        """A file with two labels teaches nothing: which of them is right, only its owner knows."""
        if row.refusal:
            self.refused.append(RefusedFile(name=row.path, reason=row.refusal))
            return
        first = self.rows.setdefault(row.path, row)
        if first is row or first.refusal:
            return
        if (first.label, first.part) == (row.label, row.part):
            self.repeated += 1
            return
        twice = f"is listed twice and not alike, in lines {first.line} and {row.line}"
        self.rows[row.path] = replace(first, refusal=twice)
        self.refused.append(RefusedFile(name=row.path, reason=twice))

    @property
    def tests(self) -> int:
        """Images that nothing here is done with."""
        return sum(row.part == labels_file.TEST for row in self.rows.values())

    def usable(self) -> list[Row]:
        """In the natural order of their paths."""
        rows = [row for row in self.rows.values() if not row.refusal and row.part != labels_file.TEST]
        return sorted(rows, key=lambda row: natural(row.path))


def survey_listed(root: Path, name: str) -> Layout:
    """The images that the CSV file `name` lists, in the natural order of their names; none of them is looked at.

    Raises RunFailure(BAD_DATASET) for a file that is none, for fewer than two classes, and for classes that only
    validation has.
    """
    listed = _Listed()
    try:
        others = labels_file.columns(root, name).others
        for row in labels_file.rows(root, name):
            listed.take(row)
    except labels_file.Unreadable as error:
        raise bad(str(error)) from error
    return _layout(root, name, listed, others)


def _layout(root: Path, name: str, listed: _Listed, others: tuple[str, ...]) -> Layout:
    rows = listed.usable()
    classes = tuple(sorted({row.label for row in rows}, key=natural))
    if len(classes) < 2:
        found = f"only {few(list(classes))}" if classes else "none"
        refused = f" {len(listed.refused)} rows are refused; {_first(listed)}." if listed.refused else ""
        raise bad(f"{name} must give at least 2 classes to its images; it has {found}.{refused}")
    number = {label: index for index, label in enumerate(classes)}
    in_validation = [row.part == VALIDATION for row in rows]
    has_validation = any(in_validation)
    if has_validation:
        _refuse_untrained(name, classes, rows)
    return Layout(
        str(root),
        classes,
        has_validation,
        [row.path for row in rows],
        [number[row.label] for row in rows],
        in_validation,
        listed.refused,
        name,
        list(_warnings(name, listed, others, held_out=not has_validation and bool(rows[0].part))),
    )


def _first(listed: _Listed) -> str:
    return "; ".join(f"{each.name[:200]} {each.reason}" for each in listed.refused[:3])


def _refuse_untrained(name: str, classes: tuple[str, ...], rows: list[Row]) -> None:
    trained = {row.label for row in rows if row.part != VALIDATION}
    untrained = [label for label in classes if label not in trained]
    if untrained:
        raise bad(f"In {name}, these classes have validation images and none to train on: {few(untrained)}.")


def _warnings(name: str, listed: _Listed, others: tuple[str, ...], *, held_out: bool) -> Iterator[str]:
    if others:
        yield f"Columns of {name} that are not used: {few(list(others))}."
    if listed.repeated:
        yield f"{listed.repeated} rows of {name} repeat an earlier one and are left out."
    if listed.tests:
        yield f"{listed.tests} images of the part 'test' are left out."
    if held_out:
        yield f"No row of {name} is of the part 'val': a share of the images is held out."
