"""What becomes of a run when something happens to its processes: real ranks, really killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.contract.events import CheckpointSaved, Noted, PhaseBegun, Stopped, Succeeded
from tests.training_runs import ROOT, Run, WarmParent, when

SPEC: dict[str, Any] = {
    "dataset": {"kind": "builtin", "name": "digits"},
    "model": {"kind": "timm", "name": "test_resnet"},
    "augment": [{"kind": "resize", "size": [16, 16]}],
    "distributed": {"kind": "ddp", "processes": 2},
    "training": {"epochs": 50, "batch_size": 64},
}
OFTEN = {"TRAINYARD_COUNCIL_S": "0.05"}
METRICS = b'"type":"metrics"'


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def terminate(pid: int) -> None:
    os.kill(pid, signal.SIGTERM)


def to_last_rank(number: signal.Signals) -> Callable[[int], None]:
    return lambda pid: os.kill(max(children(pid)), number)


def briefly(**training: Any) -> dict[str, Any]:
    return SPEC | {"training": {"epochs": 1, "batch_size": 256} | training}


def test_sigterm_before_the_first_step_ends_the_run_at_once(warm: WarmParent, tmp_path: Path) -> None:
    run = warm.run(SPEC, tmp_path, meanwhile=when(tmp_path, b'"phase"', 1, terminate))
    assert run.exit_code == 75
    assert isinstance(run.events[-1], Stopped)
    assert not run.events[-1].saved


def test_sigterm_during_training_saves_and_a_second_run_on_the_folder_goes_on(warm: WarmParent, tmp_path: Path) -> None:
    run = warm.run(SPEC, tmp_path, meanwhile=when(tmp_path, METRICS, 30, terminate), **OFTEN)
    assert run.exit_code == 75
    last = run.events[-1]
    assert isinstance(last, Stopped)
    assert last.saved
    saved = [event for event in run.events if isinstance(event, CheckpointSaved)][-1]
    assert max(run.metric("train/loss")) == saved.step
    assert (tmp_path / saved.path / "manifest.json").exists()

    again = warm.run(SPEC, tmp_path, meanwhile=when(tmp_path, METRICS, saved.step + 40, terminate), **OFTEN)
    assert again.exit_code == 75
    assert [event.seq for event in again.events] == list(range(1, len(again.events) + 1))
    assert [event.data["step"] for event in again.events if isinstance(event, Noted)] == [saved.step]
    steps = list(again.metric("train/loss"))
    assert steps == list(range(1, len(steps) + 1))


def test_a_rank_that_is_killed_ends_the_run_as_crashed_and_leaves_none(warm: WarmParent, tmp_path: Path) -> None:
    left: list[int] = []

    def kill(pid: int) -> None:
        left.extend(children(pid))
        to_last_rank(signal.SIGKILL)(pid)

    run = warm.run(SPEC, tmp_path, meanwhile=when(tmp_path, METRICS, 1, kill))
    assert run.exit_code == 1
    assert run.failure.code == "crashed"
    assert "rank1 was killed by SIGKILL" in run.failure.message
    assert len(left) >= 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in left)


def test_a_hang_ends_itself_with_the_stacks_of_all_ranks_in_their_logs(warm: WarmParent, tmp_path: Path) -> None:
    def hang(pid: int) -> None:
        to_last_rank(signal.SIGSTOP)(pid)

    run = warm.run(SPEC, tmp_path, meanwhile=when(tmp_path, METRICS, 1, hang), TRAINYARD_STALL_S="1")
    assert run.exit_code == 1
    assert run.failure.code == "stalled"
    assert "most recent call first" in (tmp_path / "logs/rank0.log").read_text()


def test_ranks_die_with_their_launcher(warm: WarmParent, tmp_path: Path) -> None:
    left: list[int] = []

    def kill(pid: int) -> None:
        left.extend(children(pid))
        os.kill(pid, signal.SIGKILL)

    assert warm.run(SPEC, tmp_path, meanwhile=when(tmp_path, METRICS, 1, kill)).exit_code == -signal.SIGKILL
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}/exe").exists() for pid in left):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_time_that_is_up_saves_a_checkpoint_and_fails_as_timeout(warm: WarmParent, tmp_path: Path) -> None:
    run = warm.run(SPEC, tmp_path, time_left_s=6, **OFTEN)
    assert run.exit_code == 1
    assert run.failure.code == "timeout"
    if run.metric("train/loss"):
        assert run.newest_checkpoint.name == f"training-{max(run.metric('train/loss')):08d}"


def test_losses_that_are_no_numbers_halve_the_rate_twice_and_then_end_the_run(warm: WarmParent, tmp_path: Path) -> None:
    spec = briefly(epochs=9, batch_size=64, optimizer={"kind": "sgd", "learning_rate": 100}) | {
        "model": {"kind": "timm", "name": "test_vit"},
    }
    run = warm.run(spec, tmp_path, **OFTEN)
    assert run.exit_code == 1
    assert run.failure.code == "diverged"
    notes = [event for event in run.events if isinstance(event, Noted)]
    assert [(note.code, note.data["rollbacks"]) for note in notes] == [("rate_halved", 1), ("rate_halved", 2)]
    assert [note.data["from"] for note in notes] == ["the beginning"] * 2
    assert run.metric("train/learning_rate")[1] == 25.0


def test_a_method_that_does_not_fit_fails_within_seconds_with_its_field(warm: WarmParent, tmp_path: Path) -> None:
    spec = SPEC | {"model": {"kind": "timm", "name": "test_vit"}, "compression": [{"kind": "depthwise_separable"}]}
    run = warm.run(spec, tmp_path)
    assert run.exit_code == 1
    assert run.failure.code == "bad_spec"
    assert [each.pointer for each in run.failure.errors] == ["/compression/0"]
    assert not run.metric("train/loss")


def test_fp16_on_a_cpu_is_refused_before_training(warm: WarmParent, tmp_path: Path) -> None:
    run = warm.run(briefly(precision="fp16"), tmp_path)
    assert [each.pointer for each in run.failure.errors] == ["/training/precision"]


def test_images_too_small_for_the_network_are_refused_with_the_field(warm: WarmParent, tmp_path: Path) -> None:
    resize = {"kind": "resize", "size": [4, 4]}
    run = warm.run(briefly() | {"model": {"kind": "timm", "name": "test_convnext"}, "augment": [resize]}, tmp_path)
    assert run.exit_code == 1
    assert run.failure.code == "bad_spec"
    assert [each.pointer for each in run.failure.errors] == ["/model/name"]


def test_one_image_a_process_is_refused_when_the_network_cannot_train_on_it(warm: WarmParent, tmp_path: Path) -> None:
    resize = {"kind": "resize", "size": [8, 8]}
    run = warm.run(briefly(batch_size=2) | {"augment": [resize]}, tmp_path)
    assert run.exit_code == 1
    assert run.failure.code == "bad_spec"
    assert [each.pointer for each in run.failure.errors] == ["/training/batch_size"]


def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(warm: WarmParent, tmp_path: Path) -> None:
    first = warm.run(SPEC, tmp_path, meanwhile=when(tmp_path, b'"checkpoint"', 2, terminate), **OFTEN)
    checkpoints = sorted((tmp_path / "checkpoints").glob("*-*"))
    (checkpoints[-1] / "state.pt").write_bytes(b"spoilt")
    second = warm.run(SPEC, tmp_path, meanwhile=when(tmp_path, b'"resumed"', 1, terminate), **OFTEN)
    assert (first.exit_code, second.exit_code) == (75, 75)
    notes = [event for event in second.events if isinstance(event, Noted)]
    assert [note.code for note in notes] == ["checkpoint_damaged", "resumed"]
    assert checkpoints[-2].name in notes[1].message


def test_a_damaged_checkpoint_of_an_attempt_gives_way_to_one_of_the_attempt_before(
    warm: WarmParent, tmp_path: Path
) -> None:
    first = warm.run(SPEC, tmp_path / "1", meanwhile=when(tmp_path / "1", METRICS, 3, terminate), **OFTEN)
    spoilt = tmp_path / "2/checkpoints/training-00000099"
    spoilt.mkdir(parents=True)
    older = [tmp_path / "1/checkpoints/training-00000000", first.newest_checkpoint]
    third = warm.run(
        SPEC, tmp_path / "3", spoilt, when(tmp_path / "3", b'"resumed"', 1, terminate), resume_older=older, **OFTEN
    )
    notes = [event for event in third.events if isinstance(event, Noted)]
    assert [note.code for note in notes] == ["checkpoint_damaged", "resumed"]
    assert "training-00000099" in notes[0].message
    assert "training-00000000" not in notes[0].message, "it was deleted in good order"
    assert first.newest_checkpoint.name in notes[1].message


def test_a_checkpoint_of_another_spec_is_refused(warm: WarmParent, tmp_path: Path) -> None:
    warm.run(SPEC, tmp_path, meanwhile=when(tmp_path, METRICS, 1, terminate), **OFTEN)
    other = SPEC | {"training": SPEC["training"] | {"seed": 1}}
    assert warm.run(other, tmp_path).failure.code == "bad_spec"


def test_a_resumed_run_does_not_repeat_the_baseline_and_still_ships_it(warm: WarmParent, tmp_path: Path) -> None:
    spec = briefly(epochs=2, batch_size=128) | {
        "baseline": {"kind": "train"},
        "compression": [{"kind": "activation_compression", "ratio": 2}],
    }
    stop = when(tmp_path / "1", b'"val/accuracy"', 1, terminate)
    first = warm.run(spec, tmp_path / "1", meanwhile=stop, **OFTEN)
    assert first.exit_code == 75
    assert first.newest_checkpoint.name.startswith("training-")
    second = warm.run(spec, tmp_path / "2", resume=first.newest_checkpoint)
    assert second.exit_code == 0
    assert [e.phase for e in second.events if isinstance(e, PhaseBegun)] == ["planning", "training", "measuring"]
    # The first run may have made the very last step before it agreed to stop: then the second has none to make.
    assert_complete(second, first.metric("val/accuracy") | second.metric("val/accuracy"))
    assert (tmp_path / "1/artifacts/baseline.safetensors").read_bytes() == (
        tmp_path / "2/artifacts/baseline.safetensors"
    ).read_bytes()


def assert_complete(run: Run, accuracies: dict[int, float]) -> None:
    last = run.events[-1]
    assert isinstance(last, Succeeded)
    names = {artifact.name for artifact in last.artifacts}
    assert names >= {"model.safetensors", "model.json", "report.json", "baseline.safetensors"}
    assert last.report.before.accuracy is not None
    assert last.report.after.accuracy == accuracies[max(accuracies)]
    assert last.report.verified


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        (
            '{"dataset": {"kind": "builtin", "name": "digits"}, "model": {"kind": "timm", "name": "nothing"}}',
            "/model/name",
        ),
        ('{"dataset": {"kind": "builtin", "name": "digits"}, "model": {"kind": "timm"}}', "/model/name"),
        ("{", None),
    ],
)
def test_an_order_that_cannot_be_read_is_refused_without_loading_torch(
    tmp_path: Path, text: str, pointer: str | None
) -> None:
    (tmp_path / "spec.json").write_text(text)
    program = (
        "import sys; from worker.training.__main__ import main; code = main(sys.argv[1:]);"
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "spec.json"), str(tmp_path / "run")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    failure = Run(tmp_path / "run", done.returncode).failure
    assert done.returncode == 1
    assert failure.code == "bad_spec"
    assert [each.pointer for each in failure.errors] == ([pointer] if pointer else [])
    assert failure.message in done.stderr.strip()
