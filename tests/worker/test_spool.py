"""The report file as a spool."""

from datetime import UTC, datetime

import pytest

from app.contract.events import Noted
from worker.spool import Spool


def _line(seq, message="x"):
    return Noted(seq=seq, time=datetime.now(UTC), level="info", code="c", message=message).model_dump_json() + "\n"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.jsonl"


def test_a_file_that_is_not_there_yet_is_empty(path):
    assert Spool(path).batch(10) == []


def test_what_is_not_acknowledged_is_given_again(path):
    path.write_text(_line(1) + _line(2) + _line(3))
    spool = Spool(path)
    spool.batch(10)

    spool.acknowledge(1)

    assert [event.seq for event in spool.batch(10)] == [2, 3]


def test_a_batch_holds_no_more_than_its_limit(path):
    path.write_text("".join(map(_line, range(1, 6))))

    assert [event.seq for event in Spool(path).batch(2)] == [1, 2]


def test_a_batch_holds_no_more_bytes_than_its_limit_but_one_event_at_least(path):
    path.write_text(_line(1, "m" * 3000) + _line(2, "m" * 3000) + _line(3, "m" * 3000))
    spool = Spool(path)

    assert [event.seq for event in spool.batch(10, limit_bytes=7000)] == [1, 2]
    assert [event.seq for event in spool.batch(10, limit_bytes=1)] == [1]


def test_a_line_counts_when_it_is_complete(path):
    spool = Spool(path)
    whole = _line(1)
    path.write_text(whole[:20])
    assert spool.batch(10) == []

    with path.open("a") as file:
        file.write(whole[20:])

    assert [event.seq for event in spool.batch(10)] == [1]


def test_the_last_event_is_known_even_when_all_are_acknowledged(path):
    path.write_text(_line(1) + _line(2, "the end"))
    spool = Spool(path)
    spool.rewind(2)

    assert spool.batch(10) == []
    assert spool.last.message == "the end"


def test_a_line_that_is_no_event_becomes_a_note_with_its_number(path):
    path.write_bytes(_line(1).encode() + b"\xff\xfe{\n" + _line(3).encode())

    events = Spool(path).batch(10)

    assert [event.seq for event in events] == [1, 2, 3]
    assert events[1].code == "event_unreadable"


def test_a_line_that_counts_wrongly_is_counted_by_its_place(path):
    path.write_text(_line(1) + _line(7))

    assert [event.seq for event in Spool(path).batch(10)] == [1, 2]


def test_a_rewound_spool_reads_from_where_the_service_is(path):
    path.write_text("".join(map(_line, range(1, 6))))
    spool = Spool(path)
    spool.batch(10)
    spool.acknowledge(5)

    spool.rewind(2)

    assert [event.seq for event in spool.batch(10)] == [3, 4, 5]


def test_a_refused_event_gives_way_to_a_note_once(path):
    path.write_text(_line(1) + _line(2))
    spool = Spool(path)
    spool.batch(10)

    assert spool.replace(2, "why")
    assert spool.batch(10)[1].code == "event_refused"
    assert not spool.replace(2, "why again")


def test_files_larger_than_one_piece_are_read_whole(path):
    path.write_text("".join(_line(seq, "m" * 3000) for seq in range(1, 1001)))
    spool = Spool(path)
    seen = []
    while batch := spool.batch(300):
        seen += [event.seq for event in batch]
        spool.acknowledge(batch[-1].seq)

    assert seen == list(range(1, 1001))
