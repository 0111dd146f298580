"""A page as Markdown, as GitHub reads it: for a pull request, a wiki, a mail. Pictures are left to the HTML."""

from collections.abc import Iterator, Sequence

from app.services.pages.layout import Document, Section, Table
from app.services.pages.legible import in_markdown


def as_markdown(page: Document) -> str:
    """The page. Every text in it is shown to the letter, whatever it looks like."""
    return "\n".join(_lines(page)) + "\n"


def _lines(page: Document) -> Iterator[str]:
    yield f"# {in_markdown(page.title)}"
    yield ""
    yield f"**{in_markdown(page.verdict)}**"
    yield ""
    for name, value in page.facts:
        yield f"- {in_markdown(name)}: {in_markdown(value)}"
    for section in page.sections:
        yield from _section(section)


def _section(section: Section) -> Iterator[str]:
    yield from ("", f"## {in_markdown(section.title)}")
    for note in section.notes:
        yield from ("", in_markdown(note))
    for table in section.tables:
        yield ""
        yield from _table(table)


def _table(table: Table) -> Iterator[str]:
    yield _row(table.names)
    yield _row(["---:" if numeric else "---" for numeric in table.numeric], plain=True)
    for row in table.rows:
        yield _row(row)


def _row(cells: Sequence[str], *, plain: bool = False) -> str:
    return "| " + " | ".join(cells if plain else map(in_markdown, cells)) + " |"
