"""Every file of a folder is read, hashed and decoded once, in bounded processes; the result serves every rank."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from pydantic import BaseModel

from app.contract.datasets import DatasetFacts, FoundFile, ImageSizes, RefusedFile
from app.contract.file_table import Finding
from worker.training import image_findings, image_inspection
from worker.training.image_findings import Findings
from worker.training.image_folder import survey
from worker.training.image_inspection import Keeper, Limits, Look, Seen
from worker.training.layouts import Layout, bad, few, short

_NAMED = 1_000  # refused files that are kept by name,
_NAMED_BYTES = 100_000  # in so many bytes of names and reasons: the record of a set is read whole


class Manifest(BaseModel):
    """The usable files of a folder, column by column, in their order."""

    folder: str
    classes: tuple[str, ...]
    has_validation: bool
    names: list[str]
    labels: list[int]
    in_validation: list[bool]
    sizes: list[tuple[int, int]]
    """(h, w) in pixels, after orientation."""
    contents: list[str]
    """SHA-256 of each file."""
    formats: dict[str, int]
    """How many files there are of each."""
    refused: list[RefusedFile]
    refused_count: int
    findings: list[FoundFile]
    finding_counts: dict[Finding, int]
    warnings: list[str]
    listed_in: str
    """The CSV file that gives the classes; empty: the folders do."""
    size_bytes: int
    sha256: str
    """Of a line `<sha256 of the content> <name>` for each usable file, sorted by name; where a CSV file gives the
    classes, with the class and the part behind the name, in one line each."""


@dataclass(frozen=True)
class Inspected:
    """A folder and what each of its files is. Nothing is judged yet."""

    layout: Layout
    looks: Sequence[Look]
    findings: Findings
    manifest: Manifest


class Follower:
    """Goes along with a check. Called from several threads."""

    keeper: Keeper | None = None
    """Gets the pixels of the files that can be used."""

    def begin(self, layout: Layout) -> None:
        """These files will be looked at."""

    def told(self, files: int) -> None:
        """So many files were looked at, up to now."""


def check(folder: str, bad_image_share: float, follower: Follower | None = None) -> Manifest:
    """Look at every file. Raises RunFailure(BAD_DATASET) when the set as a whole cannot be trained on."""
    manifest = inspect_layout(survey(folder), follower).manifest
    judge(manifest, bad_image_share)
    return manifest


def inspect(folder: str, follower: Follower | None = None, limits: Limits | None = None) -> Inspected:
    """Look at every file. Raises RunFailure for no layout."""
    return inspect_layout(survey(folder), follower, limits)


def inspect_layout(layout: Layout, follower: Follower | None = None, limits: Limits | None = None) -> Inspected:
    """The same for files that are listed already."""
    follower = follower or Follower()
    follower.begin(layout)
    looks = image_inspection.inspect(layout.folder, layout.names, follower.told, limits, follower.keeper)
    usable = [(index, look) for index, look in enumerate(looks) if isinstance(look, Seen)]
    indices, seen = [index for index, _ in usable], [look for _, look in usable]
    labels = [layout.labels[index] for index in indices]
    in_validation = [layout.in_validation[index] for index in indices]
    findings = image_findings.same_content([look.sha256 for look in seen], labels, in_validation)
    return Inspected(layout, looks, findings, _manifest(layout, looks, findings, indices, seen))


def facts(manifest: Manifest) -> DatasetFacts:
    """What a person is told about the data set."""
    heights, widths = zip(*manifest.sizes, strict=True)
    counts = [0] * len(manifest.classes)
    for label in manifest.labels:
        counts[label] += 1
    return DatasetFacts(
        sha256=manifest.sha256,
        classes=dict(zip(manifest.classes, counts, strict=True)),
        class_count=len(manifest.classes),
        images=len(manifest.names),
        validation_images=sum(manifest.in_validation),
        size_bytes=manifest.size_bytes,
        image_sizes=ImageSizes(
            min_height=min(heights), max_height=max(heights), min_width=min(widths), max_width=max(widths)
        ),
        formats=manifest.formats,
        refused=manifest.refused,
        refused_count=manifest.refused_count,
        findings=manifest.findings,
        finding_counts=manifest.finding_counts,
        warnings=manifest.warnings,
    )


def _manifest(
    layout: Layout, looks: Sequence[Look], findings: Findings, indices: Sequence[int], seen: Sequence[Seen]
) -> Manifest:
    names = [layout.names[index] for index in indices]
    labels = [layout.labels[index] for index in indices]
    in_validation = [layout.in_validation[index] for index in indices]
    unusable = [(name, look) for name, look in zip(layout.names, looks, strict=True) if isinstance(look, str)]
    refused = [*layout.refused, *(RefusedFile(name=name, reason=reason) for name, reason in unusable)]
    told = image_findings.warnings(layout.classes, labels, in_validation, has_validation=layout.has_validation)
    formats = [look.format for look in seen]
    return Manifest(
        folder=layout.folder,
        classes=layout.classes,
        has_validation=layout.has_validation,
        names=names,
        labels=labels,
        in_validation=in_validation,
        sizes=[look.size for look in seen],
        contents=[look.sha256 for look in seen],
        formats={name: formats.count(name) for name in sorted(set(formats))},
        refused=_few_enough(refused),
        refused_count=len(refused),
        findings=findings.named(names),
        finding_counts=findings.counts(),
        warnings=[*layout.warnings, *told, *_copies(layout, findings)],
        listed_in=layout.listed_in,
        size_bytes=sum(look.size_bytes for look in seen),
        sha256=_digest(layout, indices, seen),
    )


def _copies(layout: Layout, findings: Findings) -> list[str]:
    """Without a validation part of its own, copies of an image may come to lie on both sides of the split."""
    count = len(findings.found)
    if layout.has_validation or not count:
        return []
    return [f"{count} images have the content of another: a held-out share may hold copies of what is trained on."]


def _digest(layout: Layout, indices: Sequence[int], seen: Sequence[Seen]) -> str:
    lines = [f"{look.sha256} {layout.names[index]}\n" for index, look in zip(indices, seen, strict=True)]
    if layout.listed_in:
        parts = ("train", "val") if layout.has_validation else ("", "")
        said = [(layout.classes[layout.labels[at]], parts[layout.in_validation[at]]) for at in indices]
        lines = [f"{line}{label}\n{part}\n" for line, (label, part) in zip(lines, said, strict=True)]
    order = sorted(range(len(lines)), key=lambda at: layout.names[indices[at]])
    return hashlib.sha256("".join(lines[at] for at in order).encode()).hexdigest()


def _few_enough(refused: Sequence[RefusedFile]) -> list[RefusedFile]:
    """The first of the refused files, as many as a report can carry."""
    ends = accumulate(len(each.model_dump_json()) for each in refused[:_NAMED])
    return [each for each, end in zip(refused, ends, strict=False) if end <= _NAMED_BYTES]


def judge(manifest: Manifest, bad_image_share: float) -> None:
    """Raise RunFailure(BAD_DATASET) when too many files are refused, or nothing is left of a class."""
    judge_refused(manifest.refused, manifest.refused_count, len(manifest.names), bad_image_share)
    filled = set(zip(manifest.labels, manifest.in_validation, strict=True))
    for is_validation in (False, True) if manifest.has_validation and not manifest.listed_in else (False,):
        empty = [name for label, name in enumerate(manifest.classes) if (label, is_validation) not in filled]
        if empty:
            part = (" in val" if is_validation else " in train") if manifest.has_validation else ""
            part += "/" if part and not manifest.listed_in else ""
            raise bad(f"No usable image{part} of class {few(empty)}.")


def judge_refused(refused: Sequence[RefusedFile], refused_count: int, usable: int, bad_image_share: float) -> None:
    """Raise RunFailure(BAD_DATASET) when too many files are refused."""
    files = usable + refused_count
    if not files:
        raise bad("The class folders hold no files at all.")
    if refused_count > bad_image_share * files:
        first = "; ".join(f"{short(each.name)} {each.reason}" for each in refused[:10])
        allowed = f"at most {bad_image_share:.3g} of all may be"
        raise bad(f"{refused_count} of {files} files cannot be used ({allowed}). The first: {first}.")
