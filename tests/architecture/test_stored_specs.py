"""Specs that were stored once are read for ever: a file here is never changed, only added."""

from pathlib import Path

import pytest

from app.contract.job import JobSpec

STORED = sorted((Path(__file__).parent / "stored_specs").glob("*.json"))


def test_there_are_stored_specs() -> None:
    assert len(STORED) >= 3


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_a_stored_spec_is_still_read_and_means_the_same(path: Path) -> None:
    spec = JobSpec.model_validate_json(path.read_bytes())
    assert spec.resolved() == spec
