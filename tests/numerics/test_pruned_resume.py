"""A run that prunes its network on the way, stopped anywhere, ends with the very bits of one that was not stopped."""

import json
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from app.contract.events import Noted
from tests.training_runs import Run, WarmParent, trained, when
from worker.training import checkpoint

pytestmark = pytest.mark.timeout(600)  # several runs in a test, and the machine may be busy

STEPS = 4 * 25
OFTEN = {"TRAINYARD_COUNCIL_S": "0.03"}  # seconds between the ranks' agreements: more places to stop at


def spec(ranks: int, optimizer: dict[str, Any]) -> dict[str, Any]:
    """Pruned after epochs 1 and 2 of 4, and the average of the weights with them."""
    return {
        "dataset": {"kind": "builtin", "name": "digits", "validation_fraction": 0.5},
        "model": {"kind": "timm", "name": "test_resnet"},
        "augment": [{"kind": "random_crop", "size": [16, 16], "scale": [0.6, 1.0]}],
        "compression": [{"kind": "channel_pruning", "ratio": 2.0, "steps": 2, "until": 0.5}],
        "training": {"epochs": 4, "batch_size": 36, "optimizer": optimizer, "ema": {"decay": 0.9}},
        "distributed": {"kind": "ddp", "processes": ranks} if ranks > 1 else {"kind": "single"},
    }


def stopped(warm: WarmParent, job: dict[str, Any], folder: Path, source: Path | None, steps: int) -> Run:
    stop = when(folder, b'"metrics"', steps, lambda pid: os.kill(pid, signal.SIGTERM))
    return warm.run(job, folder, source, stop, **OFTEN)


def prunings(*runs: Run) -> list[tuple[int, int]]:
    notes = [e for run in runs for e in run.events if isinstance(e, Noted) and e.code == "pruned"]
    return [(note.data["step"], note.data["after"]) for note in notes]


def form(run: Run) -> Any:
    card = json.loads((run.folder / "artifacts/model.json").read_text())
    return card["architecture"]["compression"]


@pytest.mark.parametrize(
    ("ranks", "optimizer"),
    [
        (2, {"kind": "adamw", "learning_rate": 0.003}),
        pytest.param(1, {"kind": "sgd", "learning_rate": 0.02}, marks=pytest.mark.slow),
    ],
)
def test_a_pruned_run_stopped_at_random_steps_ends_with_the_weights_of_one_that_was_not(
    warm: WarmParent, tmp_path: Path, ranks: int, optimizer: dict[str, Any]
) -> None:
    job = spec(ranks, optimizer)
    whole = warm.run(job, tmp_path / "whole", meanwhile=trained(tmp_path / "whole"), **OFTEN)
    first = stopped(warm, job, tmp_path / "first", None, random.randint(1, STEPS // 4 - 2))
    second = stopped(warm, job, tmp_path / "second", first.newest_checkpoint, random.randint(STEPS // 4, STEPS // 2))
    assert checkpoint.load(second.newest_checkpoint).pruned
    rest = warm.run(job, tmp_path / "rest", second.newest_checkpoint, trained(tmp_path / "rest"), **OFTEN)

    assert [step for step, _ in prunings(whole)] == [1, 2]
    assert sorted(set(prunings(first, second, rest))) == prunings(whole)
    parts = first.metric("train/loss") | second.metric("train/loss") | rest.metric("train/loss")
    assert parts == whole.metric("train/loss")
    assert rest.weights == whole.weights


def test_a_pruned_run_goes_on_with_another_number_of_ranks_in_the_same_form(warm: WarmParent, tmp_path: Path) -> None:
    optimizer = {"kind": "adamw", "learning_rate": 0.003}
    part = stopped(warm, spec(2, optimizer), tmp_path / "part", None, STEPS // 4 + 5)
    saved = checkpoint.load(part.newest_checkpoint)
    assert saved.position.prunings == 1
    assert saved.pruned

    rest = warm.run(spec(1, optimizer), tmp_path / "rest", part.newest_checkpoint, trained(tmp_path / "rest"), **OFTEN)
    assert prunings(rest) == [(2, 606_544)]  # what the plan of one step comes to
    assert len(form(rest)) == 1
    assert saved.pruned["sizes"].keys() <= form(rest)[0]["sizes"].keys()


SPOILT_ONCE = """
import torch.nn.functional as F
whole, calls = F.cross_entropy, 0

def spoilt(*arguments, **options):
    global calls
    calls += torch.is_grad_enabled()
    return whole(*arguments, **options) * (float("nan") if calls == 33 else 1)

F.cross_entropy = spoilt
"""


def test_a_step_back_leads_to_the_form_that_was_saved(warm: WarmParent, tmp_path: Path) -> None:
    """Spoilt in epoch 2, behind the first pruning; what was saved last is the whole network after epoch 1."""
    job = spec(1, {"kind": "adamw", "learning_rate": 0.003})
    run = warm.run(job, tmp_path, meanwhile=trained(tmp_path), TRAINYARD_TEST_CODE=SPOILT_ONCE, **OFTEN)
    codes = [event.code for event in run.events if isinstance(event, Noted) and event.code in ("pruned", "rate_halved")]
    assert codes == ["pruned", "rate_halved", "pruned", "pruned"]
    assert [step for step, _ in prunings(run)] == [1, 1, 2]
    assert max(run.metric("train/loss")) == STEPS
