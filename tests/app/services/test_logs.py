"""A job's log read forwards, backwards and through a filter, from files as supervisors write them."""

import json

import pytest

from app.services import logs
from app.services.logs import LogCursor, LogFilter, read_after, read_tail

ATTEMPTS = (1, 2, 10)
LINES = 300


def written(attempt, number, **more):
    message = f"line {number} " + "x" * (number * 37 % 1500)
    line = {"time": "2026-11-21T10:00:00Z", "attempt": attempt, "rank": 0, "level": "info", "message": message}
    return json.dumps(line | more) + "\n"


def put(job_dir, attempt, text):
    folder = job_dir / "attempts" / str(attempt)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.ndjson").open("a") as file:
        file.write(text)


@pytest.fixture
def job_dir(tmp_path):
    """Three attempts; each file ends in half a line."""
    for attempt in ATTEMPTS:
        put(tmp_path, attempt, "".join(written(attempt, number) for number in range(LINES)) + '{"half": ')
    return tmp_path


ALL = [(attempt, number) for attempt in ATTEMPTS for number in range(LINES)]


def shown(page):
    return [(line.attempt, int(line.message.split()[1])) for _, line in page.lines]


def test_reading_on_with_the_cursor_delivers_every_whole_line_once(job_dir):
    got, cursor = [], LogCursor()
    while True:
        page = read_after(job_dir, cursor, LogFilter(), 7)
        got += shown(page)
        cursor = LogCursor.parse(str(page.cursor))
        if page.at_end:
            break
    assert got == ALL


@pytest.mark.parametrize("count", [1, 299, 300, 301, 650, 5000])
def test_the_tail_is_the_end_of_the_log_over_all_attempts(job_dir, count):
    assert shown(read_tail(job_dir, count, LogFilter())) == ALL[-count:]


def test_each_line_carries_the_cursor_of_what_follows_it(job_dir):
    place, _ = read_tail(job_dir, 5, LogFilter()).lines[0]
    assert shown(read_after(job_dir, place, LogFilter(), 100)) == ALL[-4:]


def test_the_tail_knows_where_to_follow_on(job_dir):
    cursor = read_tail(job_dir, 3, LogFilter()).cursor
    assert read_after(job_dir, cursor, LogFilter(), 10).lines == []


def test_a_torn_line_is_delivered_when_it_is_whole(tmp_path):
    whole = written(1, 5)
    put(tmp_path, 1, whole[:20])
    page = read_after(tmp_path, LogCursor(), LogFilter(), 10)
    assert (page.lines, read_tail(tmp_path, 10, LogFilter()).lines) == ([], [])
    put(tmp_path, 1, whole[20:])
    assert shown(read_after(tmp_path, page.cursor, LogFilter(), 10)) == [(1, 5)]
    assert shown(read_tail(tmp_path, 10, LogFilter())) == [(1, 5)]


def test_half_a_line_that_a_crash_left_costs_only_itself(tmp_path):
    put(tmp_path, 1, '{"half":\n' + written(1, 1))
    assert shown(read_after(tmp_path, LogCursor(), LogFilter(), 10)) == [(1, 1)]


def test_the_filter_takes_rank_level_and_text_in_any_case(tmp_path):
    put(tmp_path, 1, written(1, 0, rank=1) + written(1, 1, level="error", message="line 1 Out of MEMORY"))
    put(tmp_path, 1, written(1, 2, rank=None, level="warning"))
    for wanted, expected in (
        (LogFilter(rank=1), [0]),
        (LogFilter(level="warning"), [1, 2]),
        (LogFilter(search="memory"), [1]),
        (LogFilter(rank=0, level="info", search="OUT"), [1]),
    ):
        assert [number for _, number in shown(read_after(tmp_path, LogCursor(), wanted, 10))] == expected
        assert [number for _, number in shown(read_tail(tmp_path, 10, wanted))] == expected


def test_a_search_that_finds_nothing_reads_only_so_much_and_says_where_it_stopped(job_dir, monkeypatch):
    monkeypatch.setattr(logs, "MAX_SCAN_BYTES", 10_000)
    page = read_after(job_dir, LogCursor(), LogFilter(search="absent"), 10)
    assert page.lines == []
    assert not page.at_end
    assert 10_000 <= page.cursor.offset < 13_000


def test_reading_on_from_the_end_reads_nothing_again(job_dir, monkeypatch):
    end = read_tail(job_dir, 1, LogFilter()).cursor
    put(job_dir, 10, "1}\n" + written(10, 300))
    read = []
    monkeypatch.setattr(logs, "_parsed", read.append)
    read_after(job_dir, end, LogFilter(), 10)
    assert len(read) == 2


def test_a_job_without_logs_has_an_empty_page(tmp_path):
    assert read_after(tmp_path, LogCursor(), LogFilter(), 10).lines == []
    assert read_tail(tmp_path, 10, LogFilter()).lines == []


@pytest.mark.parametrize("text", ["", "1", "1:", ":1", "a:b", "-1:0", "1:0:0", "\uff11:0", "9" * 20 + ":0"])
def test_a_text_that_is_no_cursor_is_known_as_such(text):
    assert LogCursor.parse(text) is None


def test_a_cursor_far_behind_the_end_finds_nothing(job_dir):
    assert read_after(job_dir, LogCursor(10, 10**12), LogFilter(), 10).lines == []
