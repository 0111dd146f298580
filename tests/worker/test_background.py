"""Background tasks: bounded programs whose result, or whose end, the service hears of."""

import json
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from app.contract.data import Folder
from app.contract.datasets import DatasetFacts
from app.contract.job import JobSpec
from app.contract.plan import Plan
from app.contract.previews import Preview, PreviewFiles, PreviewSpec
from app.contract.work import ImportTask, Paths, PlanTask, PreviewTask, RunOrder, TaskWork
from worker import processes

SPEC = {"dataset": {"kind": "builtin", "name": "digits"}, "model": {"kind": "timm", "name": "resnet10t"}}
PROGRAM = """
import json, os, sys, time
kind, order, out = sys.argv[1:]
assert json.load(open(order))
def put(value): open(out, "w").write(json.dumps(value))
"""


@pytest.fixture
def plan(tmp_path):
    order = RunOrder(spec=JobSpec.model_validate(SPEC), paths=Paths(run_dir=str(tmp_path / "plan")))
    return TaskWork(task="task_1", token="t", lease_s=3.0, order=PlanTask(order=order))


@pytest.fixture
def run_program(home, door, supervise, tmp_path):
    """Run a task's supervisor with this text as its program; its result as the service got it."""

    def run(work, text, **settings):
        program = tmp_path / "program.py"
        program.write_text(PROGRAM + text)
        command = json.dumps([sys.executable, str(program)])
        supervisor = supervise(work, "none", TRAINYARD_TRAINING_COMMAND=command, **settings)
        assert supervisor.wait() == 0
        assert not supervisor.path.exists()
        assert list((home / "run" / "tasks").iterdir()) == []
        return door.task_results[0]

    return run


def test_a_result_is_handed_over(run_program, plan):
    result = run_program(plan, "put({'layers': [1, 2], 'cuda': os.environ['CUDA_VISIBLE_DEVICES']})")

    assert result == {"token": "t", "result": {"layers": [1, 2], "cuda": ""}, "failure": None}


def test_the_check_of_a_folder_is_told_the_whole_task(run_program):
    order = ImportTask(source=Folder(path="flowers"), path="/data/flowers", bad_image_share=0.5)
    work = TaskWork(task="task_2", token="t", lease_s=60, order=order)

    result = run_program(work, "put({'kind': kind, 'request': json.load(open(order))})")

    assert result["result"]["kind"] == "import"
    assert result["result"]["request"]["path"] == "/data/flowers"
    assert result["result"]["request"]["bad_image_share"] == 0.5


def test_a_failure_that_the_program_found_is_passed_on_with_its_pointers(run_program, plan):
    failure = {
        "code": "bad_spec",
        "message": "does not fit",
        "errors": [{"pointer": "/compression/0", "detail": "d", "code": "c"}],
    }

    result = run_program(plan, f"put({failure!r}); sys.exit(1)")

    assert result["result"] is None
    assert result["failure"]["errors"][0]["pointer"] == "/compression/0"


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("print('the cause'); os.abort()", "crashed", "SIGABRT"),
        ("print('the cause'); sys.exit(3)", "crashed", "the cause"),
        ("sys.exit(0)", "crashed", "exit code 0"),  # and no result
        ("open(out, 'w').write('{'); sys.exit(0)", "crashed", "exit code 0"),
        ("put({'hello': 1}); sys.exit(1)", "crashed", "exit code 1"),
        ("put({'code': 'unheard_of', 'message': ''}); sys.exit(1)", "crashed", "exit code 1"),
        ("time.sleep(1000)", "timeout", "longer than 1.5 s"),
        ("held = b'x' * (400 << 20); time.sleep(1000)", "out_of_memory", "100 MiB"),
    ],
)
def test_a_program_that_ends_badly_is_told_as_a_failure(run_program, plan, text, code, words):
    timeout_s = "1.5" if code == "timeout" else "60"

    result = run_program(plan, text, TRAINYARD_PLAN_TIMEOUT_S=timeout_s, TRAINYARD_TASK_MEMORY_BYTES=str(100 << 20))

    assert result["failure"]["code"] == code
    assert words in result["failure"]["message"]


def test_children_of_the_program_count_and_die_with_it(run_program, plan, tmp_path):
    text = f"""
if os.fork() == 0:
    open({str(tmp_path / "child")!r}, "w").write(str(os.getpid()))
    held = b"x" * (400 << 20)
    time.sleep(1000)
time.sleep(1000)
"""
    result = run_program(plan, text, TRAINYARD_TASK_MEMORY_BYTES=str(100 << 20))

    assert result["failure"]["code"] == "out_of_memory"
    assert processes.stat(int((tmp_path / "child").read_text())) is None


def test_the_lease_of_a_long_task_is_held(door, run_program, plan):
    run_program(plan, "time.sleep(1.5); put({'a': 1})")

    assert any(call.endswith("/tasks/task_1/heartbeat") for call in door.calls)


def test_a_drained_task_is_killed_and_left_to_its_lease(home, door, supervise, plan, tmp_path, eventually):
    program = tmp_path / "program.py"
    began = tmp_path / "began"
    program.write_text(PROGRAM + f"open({str(began)!r}, 'w').write(str(os.getpid())); time.sleep(1000)")
    command = json.dumps([sys.executable, str(program)])
    supervisor = supervise(plan, "none", TRAINYARD_TRAINING_COMMAND=command)
    pid = int(eventually(lambda: began.exists() and began.read_text()))

    supervisor.signal(signal.SIGTERM)
    supervisor.wait()

    assert processes.stat(pid) is None
    assert door.task_results == []
    assert not supervisor.path.exists()


def test_a_spec_is_planned_by_the_real_program(door, supervise, plan):
    supervise(plan, "none", TRAINYARD_TRAINING_COMMAND="").wait()

    result = door.task_results[0]
    assert result["failure"] is None
    assert Plan.model_validate(result["result"]).before.parameters == 4_927_618  # timm's resnet10t for 10 classes


def test_a_folder_is_checked_by_the_real_program(door, supervise, tmp_path):
    cv2 = pytest.importorskip("cv2")
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "images" / name), np.full((8, 9, 3), 7, np.uint8))
    path = str(tmp_path / "images")
    order = ImportTask(source=Folder(path=path), path=path)

    supervise(TaskWork(task="task_3", token="t", lease_s=60, order=order), "none", TRAINYARD_TRAINING_COMMAND="").wait()

    facts = DatasetFacts.model_validate(door.task_results[0]["result"])
    assert facts.classes == {"a": 2, "b": 2}
    assert facts.image_sizes.max_width == 9


@pytest.fixture
def check(tmp_path):
    """An import whose try writes to a folder of its own in the storage."""
    results = str(tmp_path / "storage" / "checks" / "ds_1" / "1")
    order = ImportTask(source=Folder(path="flowers"), path="/data/flowers", results=results)
    return TaskWork(task="task_4", token="t", lease_s=60, order=order)


TELLING = """
def tell(seen):
    progress = os.path.join(os.path.dirname(out), "progress.json")
    open(progress + ".part", "w").write(json.dumps({"files_seen": seen, "files": 9}))
    os.replace(progress + ".part", progress)
"""


def test_how_far_an_import_is_comes_with_its_heartbeats(door, supervise, check, tmp_path, eventually):
    program = tmp_path / "program.py"
    go = tmp_path / "go"
    text = f"tell(3)\nwhile not os.path.exists({str(go)!r}): time.sleep(0.05)\ntell(9)\ntime.sleep(1000)"
    program.write_text(PROGRAM + TELLING + text)
    supervise(check, "none", TRAINYARD_TRAINING_COMMAND=json.dumps([sys.executable, str(program)]))

    def told(seen):
        return lambda: (door.bodies.get("heartbeat", {}).get("progress") or {}).get("files_seen") == seen

    eventually(told(3), "the first files are told")
    go.touch()
    eventually(told(9), "the last files are told")
    assert check.lease_s / 6 == 10  # told when it changed, long before the lease asks for a heartbeat


@pytest.mark.parametrize("end", ["fenced", "killed", "drained"])
def test_what_nobody_will_ask_for_is_removed(door, supervise, check, tmp_path, eventually, end):
    program = tmp_path / "program.py"
    began = tmp_path / "began"
    text = f"""
results = json.load(open(order))["results"]
os.makedirs(results)
open(os.path.join(results, "files.csv.part"), "w").write("half")
tell(1)
open({str(began)!r}, "w").write(str(os.getpid()))
time.sleep(1000)
"""
    program.write_text(PROGRAM + TELLING + text)
    supervisor = supervise(check, "none", TRAINYARD_TRAINING_COMMAND=json.dumps([sys.executable, str(program)]))
    pid = int(eventually(lambda: began.exists() and began.read_text()))

    if end == "fenced":
        door.fenced = True  # the data set was deleted
    elif end == "killed":
        processes.kill([pid])
    else:
        supervisor.signal(signal.SIGTERM)
    supervisor.wait()

    assert processes.stat(pid) is None
    assert [each["failure"]["code"] for each in door.task_results] == (["crashed"] if end == "killed" else [])
    assert not (tmp_path / "storage" / "checks" / "ds_1" / "1").exists()


WRITING = """
results = json.load(open(order))["results"]
os.makedirs(results)
open(results + "/files.csv", "w")
put({})
"""


@pytest.fixture
def supervise_writing(supervise, check, tmp_path):
    """The supervisor of an import whose program writes its table at once, and where that table is."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM + WRITING)

    def begin(lease_s):
        work = check.model_copy(update={"lease_s": lease_s})
        supervisor = supervise(work, "none", TRAINYARD_TRAINING_COMMAND=json.dumps([sys.executable, str(program)]))
        return supervisor, Path(check.order.results) / "files.csv"

    return begin


def test_what_was_handed_over_stays(door, supervise_writing):
    supervisor, table = supervise_writing(60)
    supervisor.wait()

    assert door.task_results
    assert table.exists()


@pytest.mark.parametrize("end", ["heartbeat", "drain"])
def test_what_may_have_been_handed_over_stays(door, supervise_writing, eventually, end):
    """The service has the result, its answer is under way: so is the answer to a heartbeat that came in behind it."""
    ended = threading.Event()

    def take_slowly():
        door.fenced = end == "heartbeat"
        ended.wait(60)

    door.before_taken = take_slowly
    supervisor, table = supervise_writing(1.2 if end == "heartbeat" else 60)
    eventually(lambda: door.task_results, "the result is under way")
    if end == "drain":
        supervisor.signal(signal.SIGTERM)
    supervisor.wait()
    ended.set()

    assert table.exists()


def test_a_result_that_comes_too_late_is_removed(door, supervise_writing):
    door.fenced = True  # another worker has the task
    supervisor, table = supervise_writing(60)
    supervisor.wait()

    assert not table.parent.exists()


@pytest.fixture
def previewing(tmp_path):
    spec = PreviewSpec.model_validate(PreviewSpec.examples[0])
    order = RunOrder(spec=spec.job().resolved(), paths=Paths(run_dir=str(tmp_path / "storage")))
    return TaskWork(task="task_4", token="t", lease_s=60, order=PreviewTask(order=order, count=4, epochs=2))


def test_a_preview_is_made_by_the_real_program_and_left_in_the_storage(door, supervise, previewing, tmp_path, home):
    supervise(previewing, "none", TRAINYARD_TRAINING_COMMAND="").wait()

    assert door.task_results[0]["failure"] is None
    files = PreviewFiles.model_validate(door.task_results[0]["result"])
    assert (tmp_path / "storage" / files.grid.sha256).read_bytes().startswith(b"\x89PNG")
    document = (tmp_path / "storage" / files.document.sha256).read_bytes()
    assert len(Preview.model_validate_json(document).images) == 8
    assert list((home / "run" / "tasks").iterdir()) == []


def test_a_preview_is_bounded_and_named_in_its_failure(run_program, previewing):
    result = run_program(previewing, "time.sleep(1000)", TRAINYARD_PLAN_TIMEOUT_S="1.5")

    assert result["failure"]["code"] == "timeout"
    assert result["failure"]["message"].startswith("The preview failed")
