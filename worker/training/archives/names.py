"""Names of entries: which lead to a place inside the folder, and only there, on every system."""

import re
import unicodedata

from worker.training.archives.refusals import Refused

COMPONENT_BYTES = 255
PATH_BYTES = 1024
DEPTH = 50
"""As many folders as the check of a data set looks into."""

_DRIVE = re.compile(r"[A-Za-z]:")
_LITTER = frozenset({"__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini"})


def parts_of(name: str) -> tuple[str, ...]:
    """The components, from the top down; `.` and doubled slashes are left out. Raises Refused."""
    if any(unicodedata.category(each) in ("Cc", "Cs") for each in name):
        raise Refused("has control characters in its name", name)
    if "\\" in name:
        raise Refused("has a backslash in its name: some systems read it as a slash", name)
    if name.startswith("/") or _DRIVE.match(name):
        raise Refused("has an absolute name", name)
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    _check(name, parts)
    return parts


def text_of(raw: bytes) -> str:
    """The name as text. Raises Refused for what is not UTF-8."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused("has a name that is not UTF-8", raw) from None


def is_litter(parts: tuple[str, ...]) -> bool:
    """What desktops leave in archives; nobody meant it to be trained on."""
    return any(part in _LITTER or part.startswith("._") for part in parts)


def folded(path: str) -> str:
    """The same for paths that some file systems cannot tell apart."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _check(name: str, parts: tuple[str, ...]) -> None:
    if ".." in parts:
        raise Refused("has '..' in its name, which leads out of the folder", name)
    if any(len(part.encode()) > COMPONENT_BYTES for part in parts) or len("/".join(parts).encode()) > PATH_BYTES:
        raise Refused(f"has a longer name than {COMPONENT_BYTES} bytes a component, {PATH_BYTES} in all", name)
    if len(parts) > DEPTH:
        raise Refused(f"lies more than {DEPTH} folders deep", name)
