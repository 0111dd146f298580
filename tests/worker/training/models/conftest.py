"""Orders for a model, without data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.contract.job import JobSpec
from app.contract.work import Paths, RunOrder

CLASSES = ("cat", "dog", "fox")
MakeOrder = Callable[..., RunOrder]


@pytest.fixture
def classes() -> tuple[str, ...]:
    return CLASSES


@pytest.fixture
def make_order(tmp_path: Path) -> MakeOrder:
    """An order for a model spec; `size` is what its images are resized to, other fields go to Paths."""

    def make(spec: dict[str, Any], /, size: tuple[int, int] = (64, 64), seed: int = 0, **paths: str) -> RunOrder:
        job = JobSpec.model_validate(
            {
                "dataset": {"kind": "builtin", "name": "digits"},
                "model": spec,
                "augment": [{"kind": "resize", "size": list(size)}],
                "training": {"seed": seed},
            }
        )
        return RunOrder(spec=job.resolved(), paths=Paths(run_dir=str(tmp_path / "run"), **paths))

    return make
