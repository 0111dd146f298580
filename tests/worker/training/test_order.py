"""What a person's spec becomes when a run has no service."""

import json
from pathlib import Path

from worker.training.order import read_order


def test_a_run_without_a_service_ends_when_its_time_is_up(tmp_path: Path) -> None:
    spec = {
        "dataset": {"kind": "builtin", "name": "digits"},
        "model": {"kind": "timm", "name": "test_resnet"},
        "limits": {"max_duration_s": 7},
    }
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    assert read_order(str(tmp_path / "spec.json"), str(tmp_path / "run")).time_left_s == 7
