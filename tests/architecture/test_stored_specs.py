"""Specs that were stored once are read for ever: a file here is never changed, only added."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.contract.job import JobSpec

STORED = sorted((Path(__file__).parent / "stored_specs").glob("*.json"))


def without_new_fields(made: Any, stored: Any) -> Any:
    """`made`, less the fields of its objects that `stored` does not have."""
    if isinstance(made, dict) and isinstance(stored, dict):
        return {key: without_new_fields(value, stored[key]) for key, value in made.items() if key in stored}
    if isinstance(made, list) and isinstance(stored, list) and len(made) == len(stored):
        return [without_new_fields(*pair) for pair in zip(made, stored, strict=True)]
    return made


def test_there_are_stored_specs() -> None:
    assert len(STORED) >= 3


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_a_stored_spec_is_still_read_and_means_the_same(path: Path) -> None:
    stored = json.loads(path.read_bytes())
    resolved = JobSpec.model_validate_json(path.read_bytes()).resolved()
    assert without_new_fields(resolved.model_dump(mode="json"), stored) == stored
    assert resolved.resolved() == resolved
