"""The logs of all ranks as one file."""

import json

import pytest

from worker import log_merge
from worker.log_merge import LogMerge


@pytest.fixture
def logs(tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    return folder


def _lines(tmp_path):
    return [json.loads(line) for line in (tmp_path / "log.ndjson").read_bytes().splitlines()]


def test_time_level_and_rank_come_from_the_line_and_its_file(tmp_path, logs):
    (logs / "rank3.log").write_text("2026-11-21T10:00:00.123Z WARNING a halved rate\n")

    LogMerge(tmp_path, attempt=2).step()

    assert _lines(tmp_path) == [
        {
            "time": "2026-11-21T10:00:00.123000Z",
            "attempt": 2,
            "rank": 3,
            "level": "warning",
            "message": "a halved rate",
        }
    ]


def test_lines_of_several_ranks_are_in_order_of_time_and_of_one_rank_in_their_own(tmp_path, logs):
    (logs / "rank0.log").write_text("2026-11-21T10:00:01Z INFO b\n2026-11-21T10:00:03Z INFO d\nraw\n")
    (logs / "rank1.log").write_text("2026-11-21T10:00:00Z INFO a\n2026-11-21T10:00:02Z INFO c\n")

    LogMerge(tmp_path, attempt=1).step()

    assert [line["message"] for line in _lines(tmp_path)] == ["a", "b", "c", "d", "raw"]


def test_a_traceback_is_an_error_to_its_last_line(tmp_path, logs):
    (logs / "launcher.log").write_text(
        "2026-11-21T10:00:00Z INFO fine\n"
        'Traceback (most recent call last):\n  File "x.py", line 1\n\nValueError: bad\nafterwards\n'
    )

    LogMerge(tmp_path, attempt=1).step()

    assert [line["level"] for line in _lines(tmp_path)] == ["info", "error", "error", "error", "error", "info"]
    assert {line["rank"] for line in _lines(tmp_path)} == {None}


def test_a_torn_line_waits_for_its_end_and_the_last_one_for_the_close(tmp_path, logs):
    merge = LogMerge(tmp_path, attempt=1)
    (logs / "rank0.log").write_text("half a li")
    merge.step()
    assert not (tmp_path / "log.ndjson").exists()

    with (logs / "rank0.log").open("a") as file:
        file.write("ne\nthe writer was killed he")
    merge.step()
    merge.close()

    assert [line["message"] for line in _lines(tmp_path)] == ["half a line", "the writer was killed he"]


def test_bytes_that_are_no_text_are_replaced(tmp_path, logs):
    (logs / "rank0.log").write_bytes(b"\xff\x00ok\xc3\n")

    LogMerge(tmp_path, attempt=1).step()

    assert _lines(tmp_path)[0]["message"] == "\ufffd\x00ok\ufffd"


def test_a_very_long_line_keeps_its_beginning_and_says_its_length(tmp_path, logs):
    (logs / "rank0.log").write_bytes(b"x" * 3_000_000 + b"\nnext\n")

    merge = LogMerge(tmp_path, attempt=1)
    while merge.step():
        pass

    first, second = _lines(tmp_path)
    assert first["message"].startswith("xxx")
    assert first["message"].endswith("(3000000 bytes in all)")
    assert len(first["message"]) < 17_000
    assert second["message"] == "next"


def test_a_log_that_grows_too_long_is_cut_with_a_note(tmp_path, logs):
    merge = LogMerge(tmp_path, attempt=1, cap_bytes=2000)
    (logs / "rank0.log").write_text("a line\n" * 1000)

    merge.step()
    merge.step()
    merge.close()

    lines = _lines(tmp_path)
    assert "cut here" in lines[-1]["message"]
    assert len(lines) < 30
    assert (tmp_path / "log.ndjson").stat().st_size < 2500


def test_files_that_appear_later_are_found(tmp_path, logs):
    merge = LogMerge(tmp_path, attempt=1)
    (logs / "rank0.log").write_text("one\n")
    merge.step()
    (logs / "rank1.log").write_text("two\n")
    merge.step()

    assert [(line["rank"], line["message"]) for line in _lines(tmp_path)] == [(0, "one"), (1, "two")]


def test_the_end_of_a_log_is_found_for_a_crash(tmp_path, logs):
    (logs / "rank0.log").write_text("".join(f"line {number}\n" for number in range(100_000)))

    assert log_merge.last_lines(tmp_path, count=2) == "line 99998\nline 99999"


def test_a_files_own_growth_is_bounded_and_its_writer_goes_on(tmp_path, logs):
    merge = LogMerge(tmp_path, attempt=1, cap_bytes=10_000)
    with (logs / "rank0.log").open("ab", buffering=0) as writer:
        for _ in range(20):
            writer.write(b"x" * 999 + b"\n")
            merge.step()
        writer.write(b"the end\n")
    merge.close()

    assert (logs / "rank0.log").stat().st_size <= 11_000
    assert log_merge.last_lines(tmp_path).endswith("the end")
    assert "cut here" in _lines(tmp_path)[-1]["message"]


def test_a_flood_between_two_steps_is_read_before_its_file_is_emptied(tmp_path, logs):
    merge = LogMerge(tmp_path, attempt=1, cap_bytes=10_000)
    merge.step()
    (logs / "rank0.log").write_bytes(b"first\n" + b"x" * 20_000 + b"\n")
    merge.step()

    assert _lines(tmp_path)[0]["message"] == "first"
