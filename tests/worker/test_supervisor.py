"""One process per attempt: what it tells the service, and that nothing is left when it goes."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.contract.work import ReportBatch
from worker import processes, records

pytestmark = pytest.mark.usefixtures("no_process_left")


@pytest.fixture
def no_process_left(tmp_path):
    """Every program of this test names the test's folder in its arguments: none may live at the end."""
    yield
    assert _living(str(tmp_path)) == []


def _living(text):
    found = []
    for each in processes.every_process():
        try:
            if each.alive and text in Path(f"/proc/{each.pid}/cmdline").read_text():
                found.append(each.pid)
        except OSError:
            continue
    return found


def _seqs(door):
    return [event["seq"] for event in door.events]


def test_a_run_that_succeeds_is_reported_in_order_and_then_finished(door, supervise, job_work):
    assert supervise(job_work(), "quick").wait() == 0

    assert _seqs(door) == [1, 2, 3, 4]
    assert door.events[0]["values"] == {"train/loss": "NaN"}
    assert [end["outcome"] for end in door.finishes] == ["succeeded"]
    assert door.finishes[0]["report"]["verified"] is True
    assert any(call.endswith("/attempts/1/start") for call in door.calls)


def test_the_record_is_gone_when_the_work_is(supervise, job_work):
    supervisor = supervise(job_work(), "quick")

    supervisor.wait()

    assert not supervisor.path.exists()


def test_the_record_names_supervisor_and_launcher_and_is_private(door, supervise, job_work):
    supervisor = supervise(job_work(), "patient")
    supervisor.began()

    record = records.read(supervisor.path)

    assert record.supervisor.pid == supervisor.process.pid
    assert processes.alive(record.supervisor)
    assert record.launcher.pid == supervisor.pid("launcher")
    assert supervisor.path.stat().st_mode & 0o077 == 0
    door.stop = "cancel"
    supervisor.wait()


def test_a_run_that_fails_passes_its_own_failure_on(door, supervise, job_work):
    supervise(job_work(attempt=2), "failing").wait()

    assert door.finishes[0]["outcome"] == "failed"
    assert door.finishes[0]["failure"]["code"] == "diverged"
    assert door.finishes[0]["failure"]["attempt"] == 2


def test_a_crash_is_told_with_its_signal_and_the_end_of_its_log(door, supervise, job_work):
    supervise(job_work(), "crashing").wait()

    failure = door.finishes[0]["failure"]
    assert failure["code"] == "crashed"
    assert "SIGSEGV" in failure["message"]
    assert "RuntimeError: boom" in failure["message"]


def test_a_program_that_cannot_be_started_fails_the_attempt(door, supervise, job_work):
    work = job_work()

    supervise(work, "quick", TRAINYARD_TRAINING_COMMAND=json.dumps(["/nowhere/program"])).wait()

    assert door.finishes[0]["failure"]["code"] == "internal"


def test_a_full_disk_at_the_start_is_told_as_such(door, supervise, job_work):
    work = job_work()
    order = Path(work.order.paths.run_dir) / "order.json"
    order.parent.mkdir(parents=True)
    order.symlink_to("/dev/full")

    supervise(work, "quick").wait()

    assert door.finishes[0]["failure"]["code"] == "disk_full"


def test_a_users_stop_lets_the_run_save_and_then_releases_it(door, supervise, job_work):
    supervisor = supervise(job_work(), "patient")
    supervisor.began()

    door.stop = "cancel"
    supervisor.wait()

    assert [event["type"] for event in door.events[-2:]] == ["checkpoint", "stopped"]
    assert [end["outcome"] for end in door.finishes] == ["released"]


def test_sigterm_to_the_supervisor_lets_the_run_save_and_then_releases_it(door, supervise, job_work):
    supervisor = supervise(job_work(), "patient")
    supervisor.began()

    supervisor.signal(signal.SIGTERM)
    supervisor.wait()

    assert door.events[-1]["type"] == "stopped"
    assert [end["outcome"] for end in door.finishes] == ["released"]


def test_a_run_that_ignores_sigterm_is_killed_with_everything_it_started(door, supervise, job_work):
    supervisor = supervise(job_work(grace_s=0.3), "stubborn")
    supervisor.began()

    door.stop = "cancel"
    supervisor.wait()

    assert [end["outcome"] for end in door.finishes] == ["released"]
    for name in ("launcher", "child", "escaped"):
        assert processes.stat(supervisor.pid(name)) is None, name


def test_the_end_is_told_only_when_the_group_is_gone(door, supervise, job_work):
    supervisor = supervise(job_work(), "leaving")
    alive_at_the_end = []
    answer = door._finish
    door._finish = lambda body: (alive_at_the_end.append(processes.stat(supervisor.pid("child"))), answer(body))[1]

    supervisor.wait()

    assert alive_at_the_end == [None]
    assert door.finishes[0]["outcome"] == "succeeded"


def test_a_fenced_attempt_is_killed_and_says_nothing_more(door, supervise, job_work):
    supervisor = supervise(job_work(), "stubborn")
    supervisor.began()

    door.fenced = True
    assert supervisor.wait() == 0

    assert door.finishes == []
    assert not supervisor.path.exists()
    assert processes.stat(supervisor.pid("launcher")) is None


def test_events_of_an_outage_arrive_once_and_in_order_at_a_service_on_another_port(
    door, supervise, job_work, eventually
):
    supervisor = supervise(job_work(), "until_told")
    eventually(lambda: len(door.events) > 3, "first events")

    door.close()
    lines = supervisor.run_dir / "events.jsonl"
    before = len(lines.read_bytes().splitlines())
    eventually(lambda: len(lines.read_bytes().splitlines()) > before + 5, "the run goes on alone")
    (supervisor.run_dir / "go").touch()
    eventually(lambda: processes.stat(supervisor.pid("launcher")) is None, "the run ended alone")
    door.open()
    supervisor.wait()

    assert _seqs(door) == list(range(1, len(lines.read_bytes().splitlines()) + 1))
    assert [end["outcome"] for end in door.finishes] == ["succeeded"]


def test_a_batch_whose_answer_was_lost_is_sent_again_and_counts_once(door, supervise, job_work):
    door.lose_answers = 3

    supervise(job_work(), "quick").wait()

    assert _seqs(door) == [1, 2, 3, 4]


def test_a_service_that_lost_events_gets_them_again(door, supervise, job_work, eventually):
    supervisor = supervise(job_work(), "until_told")
    eventually(lambda: len(door.events) > 3, "first events")

    del door.events[2:]  # it was restored from a backup
    (supervisor.run_dir / "go").touch()
    supervisor.wait()

    assert _seqs(door) == list(range(1, len(door.events) + 1))
    assert door.events[-1]["type"] == "succeeded"


def test_lines_that_nobody_can_read_or_take_do_not_hold_up_the_rest(door, supervise, job_work):
    door.refuse_code = "poison"

    supervise(job_work(), "torn").wait()

    assert [event.get("code") for event in door.events] == [None, "event_unreadable", "event_refused", None]
    assert door.finishes[0]["outcome"] == "succeeded"


def test_a_service_that_refuses_everything_ends_the_run_and_its_lease(door, supervise, job_work):
    door._reports = lambda body: (422, {})

    assert supervise(job_work(), "patient").wait() == 0

    assert door.finishes == []


def test_the_lease_is_held_while_the_run_goes_on(door, supervise, job_work, eventually):
    supervisor = supervise(job_work(heartbeat_s=0.05), "until_told")

    eventually(lambda: sum(call.endswith("/heartbeat") for call in door.calls) > 3, "heartbeats")

    (supervisor.run_dir / "go").touch()
    supervisor.wait()


def test_a_wrong_worker_token_only_delays(home, door, supervise, job_work, eventually):
    right = (home / "worker_token").read_text()
    (home / "worker_token").write_text("wrong")
    supervisor = supervise(job_work(), "quick")
    eventually((supervisor.run_dir / "events.jsonl").exists, "the run goes on without the service")

    (home / "worker_token").write_text(right)
    supervisor.wait()

    assert door.finishes[0]["outcome"] == "succeeded"


def test_a_killed_supervisor_takes_the_run_with_it_and_the_next_one_tells(door, supervise, job_work, eventually):
    supervisor = supervise(job_work(), "until_told")
    eventually(lambda: len(door.events) > 3, "first events")

    supervisor.signal(signal.SIGKILL)
    supervisor.wait()
    eventually(lambda: processes.stat(supervisor.pid("launcher")) is None, "the launcher died too")
    supervisor.begin()
    assert supervisor.wait() == 0

    assert [end["failure"]["code"] for end in door.finishes] == ["lost_worker"]
    assert _seqs(door) == list(range(1, len(door.events) + 1))
    assert not supervisor.path.exists()


def test_what_outlives_a_killed_supervisor_is_killed_by_the_next_one(door, supervise, job_work):
    supervisor = supervise(job_work(), "orphan")
    supervisor.began()
    launcher = supervisor.pid("launcher")

    supervisor.signal(signal.SIGKILL)
    supervisor.wait()
    assert processes.stat(launcher).alive
    supervisor.begin()
    supervisor.wait()

    found = processes.stat(launcher)  # in a container without an init it stays a zombie
    assert found is None or not found.alive
    assert [end["failure"]["code"] for end in door.finishes] == ["lost_worker"]


def test_a_drain_without_the_service_saves_and_leaves_the_rest_to_the_next_worker(
    door, supervise, job_work, eventually
):
    supervisor = supervise(job_work(), "patient")
    supervisor.began()
    door.close()

    supervisor.signal(signal.SIGTERM)
    assert supervisor.wait() == 0
    assert supervisor.path.exists()
    assert door.finishes == []
    door.open()
    supervisor.begin()
    supervisor.wait()

    assert [event["type"] for event in door.events[-2:]] == ["checkpoint", "stopped"]
    assert [end["outcome"] for end in door.finishes] == ["released"]


def test_the_run_sees_no_secret_and_no_gpu(door, supervise, job_work, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    supervisor = supervise(job_work(), "environment", TRAINYARD_WORKER_TOKEN="the worker's token")

    supervisor.wait()

    lines = (supervisor.run_dir / "environment").read_text().split("\0")
    seen = dict(line.split("=", 1) for line in lines)
    assert seen["CUDA_VISIBLE_DEVICES"] == ""
    assert seen["TRACEPARENT"] == "00-ab-cd-01"
    assert {name for name in seen if name.startswith("TRAINYARD_")} == {"TRAINYARD_SUPERVISED", "TRAINYARD_CACHE_DIR"}
    assert "PATH" in seen


def test_the_logs_of_the_run_are_merged(door, supervise, job_work):
    supervisor = supervise(job_work(), "quick")

    supervisor.wait()

    lines = [json.loads(line) for line in (supervisor.run_dir / "log.ndjson").read_text().splitlines()]
    assert [(line["level"], line["message"], line["time"]) for line in lines] == [
        ("info", "hello from the launcher", "2026-11-21T10:00:00.123000Z")
    ]


def test_a_batch_keeps_values_that_are_no_numbers(door, supervise, job_work):
    supervise(job_work(), "quick").wait()

    batch = ReportBatch.model_validate({"token": "t", "events": door.events[:1]})

    assert json.loads(batch.model_dump_json())["events"][0]["values"] == {"train/loss": "NaN"}


@pytest.mark.parametrize("lost", ["home", "run"])
def test_a_supervisor_whose_home_or_run_was_deleted_gives_up_within_two_leases(home, door, supervise, job_work, lost):
    work = job_work().model_copy(update={"lease_s": 1.0})
    supervisor = supervise(work, "patient")
    supervisor.began()
    door.close()

    shutil.rmtree(home if lost == "home" else work.order.paths.run_dir)

    assert supervisor.wait() == 0
    assert door.finishes == []


def test_a_supervisor_without_a_record_ends_with_one_line(tmp_path):
    command = [sys.executable, "-m", "worker.supervisor", str(tmp_path / "none.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "holds no work" in done.stderr
