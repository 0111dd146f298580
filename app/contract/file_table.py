"""The table of a data set's files, `files.csv`: what a worker writes when it has checked a set, and the service reads.

RFC 4180 in UTF-8, one record a file in the order of the set, CRLF behind each. Every cell is what it says, never
changed for a spreadsheet's sake: a file that is called `=1+1.png` stands there under that name, since programs find
it by its name. `path`, `label` and `part` come first, so a table can be given back as a `labels.csv`.
"""

from typing import Literal

from pydantic import BaseModel

FILE = "files.csv"
SUMMARY = "files.json"

COLUMNS = (
    "path", "label", "part", "status", "reason", "finding", "duplicate_of", "format", "height", "width", "size_bytes",
    "sha256",
)  # fmt: skip
"""In their order. What is not known, of a file that is refused, is empty."""

Part = Literal["train", "val"]
Status = Literal["used", "refused"]
Finding = Literal["leak", "other_class", "duplicate"]
"""Of a file whose content another one has too, the worst: `leak`: it validates, the other is trained on;
`other_class`: the other has another label; `duplicate`: the other comes before it, in the same class and part."""


class TableSummary(BaseModel):
    """`files.json`, written when the table is whole: without it there is no table."""

    records: int
    size_bytes: int
    sha256: str
