"""The Celery worker as a real process, with a real broker: it claims, it drains, and its death stops nothing."""

import signal
from pathlib import Path

import pytest

from worker import processes, records
from worker.records import Record


def _claimed_nothing(door, eventually):
    """The worker is up and has asked; from now on only what we do makes it ask again."""
    eventually(lambda: door.claims, "the first claim")


def test_a_nudge_makes_the_worker_claim_all_that_waits(door, broker, start_worker, job_work, eventually, log):
    start_worker(TRAINYARD_IDLE_ASK_S="1000")
    eventually(lambda: " ready." in log(), "Celery is ready")
    _claimed_nothing(door, eventually)

    door.waiting += [job_work(1), job_work(2)]
    broker.nudge()

    eventually(lambda: len(door.finishes) == 2, "both jobs are done")
    assert {end["outcome"] for end in door.finishes} == {"succeeded"}


def test_an_idle_worker_asks_by_itself(door, broker, start_worker, job_work, eventually):
    start_worker(TRAINYARD_IDLE_ASK_S="0.2")
    _claimed_nothing(door, eventually)

    door.waiting.append(job_work())

    eventually(lambda: door.finishes, "the job is done")


def test_a_worker_that_got_nothing_asks_again_when_the_service_said(door, broker, start_worker, job_work, eventually):
    door.due_in_s = 1
    start_worker(TRAINYARD_IDLE_ASK_S="1000")
    _claimed_nothing(door, eventually)

    door.waiting.append(job_work())

    eventually(lambda: door.finishes, "the job is done")


def test_work_is_found_with_the_broker_down(door, start_worker, job_work, eventually):
    door.waiting.append(job_work())

    start_worker()

    eventually(lambda: door.finishes, "the job is done")


def test_a_service_that_starts_after_its_worker_is_found_soon(door, start_worker, job_work, eventually, log):
    door.close()
    (door.home / "run" / "api.json").unlink()
    start_worker(TRAINYARD_IDLE_ASK_S="1000")
    eventually(lambda: "cannot be asked" in log(), "nobody answers")

    door.waiting.append(job_work())
    door.open()

    eventually(lambda: door.finishes, "the job is done")


def test_a_worker_without_a_broker_ends_on_sigterm(door, start_worker, eventually):
    worker = start_worker()
    _claimed_nothing(door, eventually)

    worker.terminate()

    assert worker.wait(timeout=30) == 0


def test_nudges_are_heard_again_when_the_broker_comes_back(door, broker, start_worker, job_work, eventually, log):
    start_worker(TRAINYARD_IDLE_ASK_S="1000")
    eventually(lambda: " ready." in log(), "Celery is ready")
    broker.end()
    eventually(lambda: "onnection" in log(), "Celery noticed")
    broker.begin()

    door.waiting.append(job_work())
    eventually(broker.socket.exists, "the broker listens")
    broker.nudge()

    eventually(lambda: door.finishes, "the job is done")


def test_free_devices_are_offered_at_once(door, start_worker, job_work, eventually):
    door.waiting.append(job_work(1))
    start_worker(mode="until_told", TRAINYARD_IDLE_ASK_S="1000")
    run = Path(job_work(1).order.paths.run_dir)
    eventually((run / "began").exists, "the first job runs")

    door.waiting.append(job_work(2))
    (run / "go").touch()

    eventually((run.parent / "2" / "began").exists, "the second job runs")


def test_a_worker_leaves_no_zombie(door, start_worker, job_work, eventually):
    door.waiting += [job_work(1), job_work(2)]
    worker = start_worker(TRAINYARD_IDLE_ASK_S="1000", TRAINYARD_WARM_START="false")  # it keeps none ahead of work

    eventually(lambda: len(door.finishes) == 2, "both jobs are done")

    eventually(lambda: not [each for each in processes.every_process() if each.parent == worker.pid], "no child")


def test_the_worker_says_what_it_has(door, start_worker, eventually):
    start_worker(TRAINYARD_WORKER_SLOTS="3")
    _claimed_nothing(door, eventually)

    claim = door.claims[0]
    assert claim["id"] == "w"
    assert [device["index"] for device in claim["devices"]] == list(range(len(claim["devices"])))
    assert claim["versions"]["trainyard"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_stopped_worker_lets_its_jobs_save_and_release(door, broker, start_worker, job_work, eventually, number):
    door.waiting += [job_work(1), job_work(2)]
    worker = start_worker(mode="patient")
    runs = Path(job_work(1).order.paths.run_dir).parent
    eventually(lambda: all((runs / name / "began").exists() for name in "12"), "both jobs run")

    worker.send_signal(number)
    worker.wait(timeout=30)

    assert [end["outcome"] for end in door.finishes] == ["released", "released"]
    assert _living_of(runs) == []


def test_a_drain_kills_what_does_not_save_in_time(door, start_worker, job_work, eventually):
    door.waiting.append(job_work(grace_s=1000))
    worker = start_worker(mode="stubborn", TRAINYARD_DRAIN_S="0.5")
    run = Path(job_work().order.paths.run_dir)
    eventually((run / "began").exists, "the job runs")

    worker.terminate()
    worker.wait(timeout=30)

    assert [end["outcome"] for end in door.finishes] == ["released"]
    assert _living_of(run) == []


def test_a_supervisor_that_hangs_is_killed_at_the_end_of_a_drain(home, door, start_worker, job_work, eventually):
    door.waiting.append(job_work())
    worker = start_worker(mode="until_told", TRAINYARD_DRAIN_S="0.2")
    run = Path(job_work().order.paths.run_dir)
    eventually((run / "began").exists, "the job runs")
    record = records.read(home / "run" / "attempts" / "job_test-1.json")
    processes.send(record.supervisor, signal.SIGSTOP)

    worker.terminate()
    worker.wait(timeout=30)

    assert not processes.alive(record.supervisor)
    eventually(lambda: _living_of(run) == [], "the run is gone")


def test_a_killed_worker_stops_nothing_and_the_next_one_leaves_it_alone(
    door, broker, start_worker, job_work, eventually, log
):
    door.waiting.append(job_work())
    worker = start_worker(mode="until_told")
    run = Path(job_work().order.paths.run_dir)
    eventually((run / "began").exists, "the job runs")
    launcher = (run / "launcher").read_text()

    worker.kill()
    worker.wait()
    claims = len(door.claims)
    start_worker(mode="until_told", TRAINYARD_IDLE_ASK_S="1000")
    eventually(lambda: len(door.claims) > claims, "the next worker asks")
    reported = len(door.events)
    eventually(lambda: len(door.events) > reported, "the run goes on")
    door.waiting.append(job_work(2))
    (run / "go").touch()

    eventually(lambda: door.finishes, "the job is done")
    assert door.finishes[0]["outcome"] == "succeeded"
    assert (run / "launcher").read_text() == launcher
    eventually((run.parent / "2" / "began").exists, "its devices were offered at once")


def test_a_new_worker_drains_what_its_killed_predecessor_started(door, start_worker, job_work, eventually):
    door.waiting.append(job_work())
    first = start_worker(mode="patient")
    run = Path(job_work().order.paths.run_dir)
    eventually((run / "began").exists, "the job runs")
    first.kill()
    first.wait()
    claims = len(door.claims)
    second = start_worker()
    eventually(lambda: len(door.claims) > claims, "the second worker asks")

    second.terminate()
    second.wait(timeout=30)

    assert [end["outcome"] for end in door.finishes] == ["released"]


def test_a_killed_supervisor_is_told_at_once(home, door, start_worker, job_work, eventually):
    door.waiting.append(job_work())
    start_worker(mode="until_told", TRAINYARD_IDLE_ASK_S="1000")
    run = Path(job_work().order.paths.run_dir)
    eventually((run / "began").exists, "the job runs")
    path = home / "run" / "attempts" / "job_test-1.json"

    processes.send(records.read(path).supervisor, signal.SIGKILL)

    eventually(lambda: door.finishes, "the service knows")
    assert door.finishes[0]["failure"]["code"] == "lost_worker"
    assert _living_of(run) == []
    eventually(lambda: not path.exists(), "the record is gone")


def test_a_supervisor_that_died_while_no_worker_was_there_is_told_by_the_next(
    home, door, start_worker, job_work, eventually
):
    path = home / "run" / "attempts" / "job_test-1.json"
    gone = processes.Identity(pid=1 << 22, start_ticks=1, boot=processes.boot())
    records.write(path, Record(worker="w", work=job_work(), supervisor=gone))

    start_worker()

    eventually(lambda: door.finishes, "the service knows")
    assert door.finishes[0]["failure"]["code"] == "lost_worker"


def test_work_whose_supervisors_die_again_and_again_is_left_to_its_lease(
    home, door, start_worker, job_work, eventually
):
    path = home / "run" / "attempts" / "job_test-1.json"
    gone = processes.Identity(pid=1 << 22, start_ticks=1, boot=processes.boot())
    records.write(path, Record(worker="w", work=job_work(), supervisor=gone, recoveries=3))

    start_worker()

    eventually(lambda: not path.exists(), "the record is gone")
    assert door.finishes == []


def test_a_run_that_cannot_have_a_folder_is_told_as_lost(door, start_worker, job_work, tmp_path, eventually):
    (tmp_path / "storage").write_text("a file, where a folder should be")
    door.waiting.append(job_work())

    start_worker()

    eventually(lambda: door.finishes, "the service knows")
    assert door.finishes[0]["failure"]["code"] == "lost_worker"


def _living_of(folder):
    found = []
    for each in processes.every_process():
        try:
            if each.alive and str(folder) in Path(f"/proc/{each.pid}/cmdline").read_text():
                found.append(each.pid)
        except OSError:
            continue
    return found
