"""The run's report file as a spool: what the service has not acknowledged is read again, nothing is copied.

An event's number is its line's number. A run writes them so; a line that cannot be read becomes a note with that
number, so that one bad line never holds up what follows.
"""

import logging
from collections import deque
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from pydantic import ValidationError

from app.contract.events import EVENT, Event, Noted

log = logging.getLogger(__name__)

READ_BYTES = 1 << 20
BATCH_BYTES = 256 << 10  # the service reads bodies of up to 1 MiB
LONGEST_LINE_BYTES = 8 << 20
REFUSED = "event_refused"


class Spool:
    """Reads `events.jsonl` while the run appends to it. Only complete lines count."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._torn = b""
        self._read = 0
        self._waiting: deque[tuple[Event, int]] = deque()
        self.acknowledged = 0
        self.last: Event | None = None

    def batch(self, limit: int, limit_bytes: int = BATCH_BYTES) -> list[Event]:
        """The first events that are not acknowledged, no more than either limit but at least one; empty: none yet."""
        while len(self._waiting) < limit and self._fill():
            pass
        events: list[Event] = []
        for event, size_bytes in islice(self._waiting, limit):
            limit_bytes -= size_bytes
            if limit_bytes < 0 and events:
                break
            events.append(event)
        return events

    @property
    def more(self) -> bool:
        """Whether events were read that are not acknowledged: another batch can follow at once."""
        return bool(self._waiting)

    def acknowledge(self, seq: int) -> None:
        """Everything up to `seq` is durable elsewhere."""
        self.acknowledged = max(self.acknowledged, seq)
        while self._waiting and self._waiting[0][0].seq <= self.acknowledged:
            self._waiting.popleft()

    def rewind(self, acknowledged: int) -> None:
        """Go on behind `acknowledged`, wherever that is: the service came back with less than it had."""
        self._offset, self._torn, self._read = 0, b"", 0
        self._waiting.clear()
        self.acknowledged = acknowledged

    def replace(self, seq: int, why: str) -> bool:
        """Put a note in place of a waiting event that the service refuses; False when it refuses the note too."""
        for index, (event, _) in enumerate(self._waiting):
            if event.seq == seq and not (isinstance(event, Noted) and event.code == REFUSED):
                note = _note(seq, REFUSED, f"A reported event was refused: {why}")
                self._waiting[index] = (note, len(why))
                return True
        return False

    def _fill(self) -> bool:
        """Read a piece; False when there is no more for now."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                piece = file.read(READ_BYTES)
        except FileNotFoundError:
            return False
        self._offset += len(piece)
        *lines, self._torn = (self._torn + piece).split(b"\n")
        if len(self._torn) > LONGEST_LINE_BYTES:
            self._torn = self._torn[:LONGEST_LINE_BYTES]  # no event is so long: it will be unreadable either way
        for line in lines:
            self._take(line)
        return bool(piece)

    def _take(self, line: bytes) -> None:
        self._read += 1
        event = _parse(line, self._read)
        self.last = event
        if event.seq > self.acknowledged:
            self._waiting.append((event, len(line)))


def _parse(line: bytes, seq: int) -> Event:
    try:
        event = EVENT.validate_json(line)
    except ValidationError as error:
        log.error("line %d of the report cannot be read: %s", seq, error)
        return _note(seq, "event_unreadable", f"Line {seq} of the run's report could not be read.")
    if event.seq == seq:
        return event
    log.error("line %d of the report calls itself %d", seq, event.seq)
    return event.model_copy(update={"seq": seq})


def _note(seq: int, code: str, message: str) -> Noted:
    return Noted(seq=seq, time=datetime.now(UTC), level="warning", code=code, message=message[:4000])
