"""What a page is made of. Every text in it is plain, and escaped by whoever renders it; only a picture is markup."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup


@dataclass(frozen=True)
class Table:
    """Headings that end in ` >` are right-aligned. `marked`: numbers of rows that are bad news."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    marked: frozenset[int] = frozenset()

    @property
    def names(self) -> list[str]:
        """The headings without their marks."""
        return [heading.removesuffix(" >") for heading in self.headings]

    @property
    def numeric(self) -> list[bool]:
        """Which columns are right-aligned."""
        return [heading.endswith(" >") for heading in self.headings]


@dataclass(frozen=True)
class Section:
    """A part of a page. `folded`: long, and shown when somebody asks for it."""

    title: str
    notes: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Markup] = ()
    folded: bool = False


@dataclass(frozen=True)
class Document:
    """A page. `good`: whether the job succeeded."""

    title: str
    verdict: str
    good: bool
    facts: Sequence[tuple[str, str]] = ()
    sections: Sequence[Section] = field(default_factory=list)
