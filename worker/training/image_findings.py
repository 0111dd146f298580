"""What is odd about a set of usable images: the same content twice, in two classes, or on both sides of the split;
classes that cannot be validated, or are hard to tell apart by name."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.contract.datasets import FoundFile
from app.contract.file_table import Finding
from worker.training.layouts import few

# N = usable images

WORST_FIRST: tuple[Finding, ...] = ("leak", "other_class", "duplicate")
_NAMED = 100
_NAMED_BYTES = 50_000


@dataclass(frozen=True)
class Findings:
    """At most one for each image: the worst, with the index of the other image."""

    found: dict[int, tuple[Finding, int]]

    def counts(self) -> dict[Finding, int]:
        """How many images there are of each finding; those without any are left out."""
        counts = Counter(finding for finding, _ in self.found.values())
        return {finding: counts[finding] for finding in WORST_FIRST if counts[finding]}

    def named(self, names: Sequence[str]) -> list[FoundFile]:
        """The first of them by name, the worst kind before the others, as many as a record can carry."""
        order = sorted(self.found.items(), key=lambda item: (WORST_FIRST.index(item[1][0]), item[0]))
        told: list[FoundFile] = []
        room = _NAMED_BYTES
        for index, (finding, other) in order[:_NAMED]:
            each = FoundFile(name=names[index], finding=finding, duplicate_of=names[other])
            room -= len(each.model_dump_json())
            if room < 0:
                break
            told.append(each)
        return told


def same_content(contents_N: Sequence[str], labels_N: Sequence[int], in_validation_N: Sequence[bool]) -> Findings:
    """Images whose content, given as its hash, another one has too.

    A validation image that is trained on is a `leak`; one that another class has is of the `other_class`; else every
    one but the first is a `duplicate`. The other image is the first that makes it so.
    """
    counts = Counter(contents_N)
    groups: dict[str, list[int]] = defaultdict(list)
    for index, content in enumerate(contents_N):
        if counts[content] > 1:
            groups[content].append(index)
    found = {
        index: finding
        for group in groups.values()
        for index, finding in _of_group(group, labels_N, in_validation_N)
    }  # fmt: skip
    return Findings(found)


def _of_group(
    group: Sequence[int], labels_N: Sequence[int], in_validation_N: Sequence[bool]
) -> Iterator[tuple[int, tuple[Finding, int]]]:
    first_of_label = {labels_N[index]: index for index in reversed(group)}
    trained = next((index for index in group if not in_validation_N[index]), None)
    for index in group:
        if in_validation_N[index] and trained is not None:
            yield index, ("leak", trained)
        elif len(first_of_label) > 1:
            yield index, ("other_class", min(at for label, at in first_of_label.items() if label != labels_N[index]))
        elif index != group[0]:
            yield index, ("duplicate", group[0])


def warnings(
    classes: Sequence[str], labels_N: Sequence[int], in_validation_N: Sequence[bool], *, has_validation: bool
) -> Iterator[str]:
    """What may not be meant so about the classes of the usable images."""
    alike = _alike(classes)
    if alike:
        yield f"Classes whose names differ only in case or in how a letter is written: {few(alike)}."
    trained = Counter(label for label, held in zip(labels_N, in_validation_N, strict=True) if not held)
    single = [name for label, name in enumerate(classes) if trained[label] == 1]
    if single:
        what = "one image to train on" if has_validation else "one image, which is trained on and never validated"
        yield f"Classes with only {what}: {few(single)}."
    if has_validation:
        validated = {label for label, held in zip(labels_N, in_validation_N, strict=True) if held}
        missing = [name for label, name in enumerate(classes) if label not in validated]
        if missing:
            yield f"Classes without an image to validate with: {few(missing)}."


def _alike(classes: Sequence[str]) -> list[str]:
    groups: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        groups[unicodedata.normalize("NFKC", name).casefold()].append(name)
    return [name for group in groups.values() if len(group) > 1 for name in group]
