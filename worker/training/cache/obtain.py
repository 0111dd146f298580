"""From a folder of images to its index and pixels: from this attempt, from the cache, or from the files."""

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from worker.training import image_check, stored_size
from worker.training.cache import fingerprint, index, locks
from worker.training.cache.build import Build, check, unavailable
from worker.training.cache.index import Index, Unreadable
from worker.training.cache.shards import Damaged
from worker.training.cache.store import Entry, Memo, Store, discard, open_entry
from worker.training.notes import Tell, silent
from worker.training.stored_size import Reduction

_FILE = "data.index"
_WAIT_S = 0.1  # between looks at a lock that another job has
_TOLD_S = 10.0  # between words about that


@dataclass(frozen=True)
class Wanted:
    """The images of a run."""

    folder: str
    sha256: str | None
    """Of the content, where it is pinned; null: whatever the folder has."""
    channels: int
    reduction: Reduction
    bad_image_share: float
    run_dir: Path
    keep: bool = True
    """Whether what has to be decoded is left for other jobs; what is there already is read in any case."""

    @property
    def root(self) -> str:
        """The folder without links in it."""
        return os.path.realpath(self.folder)


@dataclass(frozen=True)
class Found:
    """What there is; without an entry, pixels are in the files alone."""

    index: Index
    entry: Entry | None


def obtain(wanted: Wanted, tell: Tell = silent) -> Found:
    """May take as long as decoding everything once. Raises RunFailure(BAD_DATASET).

    The first process of an attempt leaves what it found in the run's folder for the others.
    """
    found = _of_attempt(wanted, tell)
    if found is None:
        found = _cached_or_made(wanted, tell)
        _leave(found, wanted)
    refused, count = found.index.refused, found.index.refused_count
    image_check.judge_refused(refused, count, len(found.index.names), wanted.bad_image_share)
    return found


def known_index(wanted: Wanted) -> Index | None:
    """The index, where it can be had without reading a file of the set."""
    found = _of_attempt(wanted, silent)
    if found is None and (store := _store(silent)):
        found = _cached(store, wanted, silent)
    return found.index if found else None


def told_damaged(tell: Tell, folder: Path, error: Damaged) -> None:
    """An entry is damaged: it is removed, so that the next job builds it again."""
    discard(folder)
    message = f"The kept images are damaged ({error}). They are read from their files, and kept anew by the next job."
    tell("warning", "cache_damaged", message)


def _of_attempt(wanted: Wanted, tell: Tell) -> Found | None:
    try:
        found, _, said = index.read(wanted.run_dir / _FILE)
    except (OSError, Unreadable):
        return None
    if said["folder"] != wanted.root:
        return None
    entry = _open(Path(said["entry"]), tell) if said["entry"] else None
    return Found(found, entry if entry and _suits(entry, wanted) else None)


def _leave(found: Found, wanted: Wanted) -> None:
    wanted.run_dir.mkdir(parents=True, exist_ok=True)
    part = wanted.run_dir / f"{_FILE}.{os.getpid()}.part"
    said = {"folder": wanted.root, "entry": str(found.entry.folder) if found.entry else ""}
    found.index.write(part, said=said)
    part.replace(wanted.run_dir / _FILE)  # whole or not at all: ranks may ask at the same time


def _cached_or_made(wanted: Wanted, tell: Tell) -> Found:
    store = _store(tell)
    if store is None:
        return _without(wanted, tell)
    if found := _cached(store, wanted, tell):
        return found
    if not wanted.keep:
        return _without(wanted, tell)
    try:
        with _alone(store, wanted, tell) as lock:
            return _cached(store, wanted, tell) or _made(store, lock, wanted, tell)
    except OSError as error:
        unavailable(tell, error)
        return _without(wanted, tell)


def _store(tell: Tell) -> Store | None:
    try:
        return Store.of_environment()
    except (OSError, ValueError) as error:
        unavailable(tell, error)
        return None


def _cached(store: Store, wanted: Wanted, tell: Tell) -> Found | None:
    """The right entry, or null. An entry with other reductions has the sizes that say which one is right."""
    memo = store.recall(wanted.root)
    if wanted.sha256 is None and memo and fingerprint.take(wanted.root).sha256 != memo.fingerprint:
        return None
    sha256 = wanted.sha256 or (memo.sha256 if memo else None)
    for path in store.known(sha256) if sha256 else ():
        entry = _open(path, tell)
        if entry is None or entry.index.sha256 != sha256:
            continue
        if not _suits(entry, wanted):
            entry = _open(store.path(sha256, wanted.channels, _reductions(entry.index, wanted)), tell)
        if entry and _suits(entry, wanted):
            return Found(_refusing(entry.index, memo), entry)
    return None


def _refusing(found: Index, memo: Memo | None) -> Index:
    """With what the folder was found to refuse. Nothing is known of a folder that nobody here has read, or that has
    changed since: a registered set whose pixels came from another one."""
    if memo is None or memo.sha256 != found.sha256:
        return found
    return replace(found, refused=memo.refused, refused_count=memo.refused_count)


def _open(path: Path, tell: Tell) -> Entry | None:
    try:
        return open_entry(path)
    except Damaged as error:
        told_damaged(tell, path, error)
        return None


def _suits(entry: Entry, wanted: Wanted) -> bool:
    return entry.channels == wanted.channels and entry.reductions == _reductions(entry.index, wanted)


def _reductions(found: Index, wanted: Wanted) -> str:
    return stored_size.digest(wanted.reduction.factors(found.sizes_N2))


@contextmanager
def _alone(store: Store, wanted: Wanted, tell: Tell) -> Iterator[int]:
    """The descriptor of a lock that one job has at a time; the others wait, and tell how far that one is."""
    file = store.sets / f".{_name(wanted)}.lock"
    told_s = time.monotonic()
    while (lock := locks.take(file, create=True)) is None:
        if time.monotonic() - told_s > _TOLD_S:
            told_s = time.monotonic()
            tell("info", "preparing_data", f"Another job prepares this data. {_said(file)}".strip())
        time.sleep(_WAIT_S)
    try:
        yield lock
    finally:
        file.unlink(missing_ok=True)
        os.close(lock)


def _said(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""


def _name(wanted: Wanted) -> str:
    """Of the build: the entry's own name is not known before all files are read."""
    text = f"{wanted.root}\0{wanted.sha256}\0{wanted.channels}\0{wanted.reduction.key}"
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _made(store: Store, lock: int, wanted: Wanted, tell: Tell) -> Found:
    before = fingerprint.take(wanted.root)
    build = Build(store, store.sets / f".{_name(wanted)}.partial", lock, wanted.channels, wanted.reduction)
    found, path = build.run(wanted.folder, wanted.bad_image_share, tell)
    is_settled = before.settled and fingerprint.take(wanted.root) == before
    seen = before.sha256 if is_settled else ""
    store.remember(wanted.root, Memo(seen, found.sha256, found.refused, found.refused_count))
    return Found(found, _open(path, tell) if path else None)


def _without(wanted: Wanted, tell: Tell) -> Found:
    return Found(check(wanted.folder, wanted.bad_image_share, tell), None)
