"""What a worker knows of supervisors that an earlier one started."""

import os
import subprocess
import sys
import time

from worker import processes, records
from worker.records import Record


def test_a_record_comes_back_as_it_was_written(tmp_path, job_work):
    path = tmp_path / "new" / "a.json"
    record = Record(worker="w", work=job_work(), supervisor=processes.identity(os.getpid()))

    records.write(path, record)

    assert records.read(path) == record
    assert path.stat().st_mode & 0o777 == 0o600
    assert records.running(path, record)


def test_records_of_other_workers_are_left_alone_and_unreadable_ones_removed(tmp_path, job_work):
    records.write(tmp_path / "mine.json", Record(worker="w", work=job_work()))
    records.write(tmp_path / "theirs.json", Record(worker="v", work=job_work()))
    (tmp_path / "empty.json").touch()

    found = records.all_of(tmp_path, "w")

    assert [path.name for path in found] == ["mine.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.json", "theirs.json"]


def test_a_record_whose_supervisor_ended_is_not_running(tmp_path, job_work):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    record = Record(worker="w", work=job_work(), supervisor=processes.identity(process.pid))
    process.communicate()

    assert not records.running(tmp_path / "a.json", record)


def test_a_supervisor_gets_some_seconds_to_name_itself(tmp_path, job_work):
    path = tmp_path / "a.json"
    record = Record(worker="w", work=job_work())
    records.write(path, record)
    assert records.running(path, record)

    os.utime(path, (0, 0))

    assert not records.running(path, record)


def test_a_clock_that_was_set_back_keeps_no_dead_supervisor_alive(tmp_path, job_work):
    path = tmp_path / "a.json"
    record = Record(worker="w", work=job_work())
    records.write(path, record)
    tomorrow = time.time() + 86_400

    os.utime(path, (tomorrow, tomorrow))

    assert not records.running(path, record)
