"""A run whose images stay on its device ends with the very bits of one that sends them at each step."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from app.contract.events import Noted
from tests.training_runs import Run, WarmParent, trained, when
from worker.training import residency
from worker.training.executors import VARIABLE

pytestmark = pytest.mark.timeout(600)  # several runs in a test, and the machine may be busy

SPEC: dict[str, Any] = {
    "dataset": {"kind": "builtin", "name": "digits", "validation_fraction": 0.5},
    "model": {"kind": "timm", "name": "test_resnet"},
    "augment": [
        {"kind": "random_crop", "size": [16, 16], "scale": [0.6, 1.0]},
        {"kind": "random_rotate", "degrees": 9},
        {"kind": "mixup"},
    ],
    "distributed": {"kind": "ddp", "processes": 2},
    "training": {"epochs": 2, "batch_size": 50, "optimizer": {"kind": "adamw", "learning_rate": 0.003}},
}
OFTEN = {"TRAINYARD_COUNCIL_S": "0.03", VARIABLE: "device"}
STAYS = OFTEN | {residency.VARIABLE: "1000000"}


def notes(run: Run) -> list[str]:
    return [event.message for event in run.events if isinstance(event, Noted) and event.code == "images_on_device"]


def test_where_images_lie_changes_no_bit_also_when_a_run_is_gone_on_with_elsewhere(
    warm: WarmParent, tmp_path: Path
) -> None:
    sent = warm.run(SPEC, tmp_path / "sent", meanwhile=trained(tmp_path / "sent"), **OFTEN)
    assert notes(sent) == []
    stop = when(tmp_path / "part", b'"metrics"', 7, lambda pid: os.kill(pid, signal.SIGTERM))
    part = warm.run(SPEC, tmp_path / "part", meanwhile=stop, **STAYS)
    assert part.exit_code == 75
    rest = warm.run(SPEC, tmp_path / "rest", part.newest_checkpoint, trained(tmp_path / "rest"), **STAYS)
    assert part.metric("train/loss") | rest.metric("train/loss") == sent.metric("train/loss")
    assert rest.weights == sent.weights
    for run in (part, rest):
        assert len(notes(run)) == 1, "one rank tells of it"
        assert "899 training images (172,608 bytes) and 449 validation images (86,208 bytes) stay" in notes(run)[0]
