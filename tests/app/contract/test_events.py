"""Reported events survive their line of JSON, values that are not finite included."""

import json
import math
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from app.contract.events import EVENT, Metrics, Noted

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


def test_non_finite_values_survive_the_wire() -> None:
    sent = Metrics(seq=1, time=NOW, step=7, values={"train/loss": math.nan, "a/b": math.inf, "c": -math.inf})
    line = sent.model_dump_json()
    assert '"NaN"' in line
    assert '"Infinity"' in line
    got = EVENT.validate_json(line)
    assert isinstance(got, Metrics)
    assert math.isnan(got.values["train/loss"])
    assert (got.values["a/b"], got.values["c"]) == (math.inf, -math.inf)


@pytest.mark.parametrize("name", ["Train/loss", "train//loss", "a b", "x" * 101, "<script>", ""])
def test_a_metric_name_is_plain(name: str) -> None:
    with pytest.raises(ValidationError):
        Metrics(seq=1, time=NOW, step=1, values={name: 1.0})


def test_what_a_note_carries_can_be_stored() -> None:
    data = {"a\ud800": ["\udfff", 10**30, 2**63 - 1, -(2**63), 1.5, None, True, "é"], "b": {"c": ("x",)}}
    note = Noted(seq=1, time=NOW, level="info", code="x", message="m", data=data)
    assert json.loads(note.model_dump_json())["data"] == {
        "a\\ud800": ["\\udfff", str(10**30), 2**63 - 1, -(2**63), 1.5, None, True, "é"],
        "b": {"c": ["x"]},
    }
