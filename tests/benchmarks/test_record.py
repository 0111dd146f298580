"""Benchmarks can be found, and their figures say where they come from."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import record
from benchmarks.__main__ import names


def test_every_benchmark_is_listed_with_its_question() -> None:
    listed = subprocess.run([sys.executable, "-m", "benchmarks"], capture_output=True, text=True, check=True).stdout
    assert {"start", "api"} <= set(names())
    assert all(name in listed and asked and asked in listed for name, asked in names().items())


def test_a_result_carries_its_date_machine_and_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    written = json.loads(record.write("start", {"median_s": 1.5}).read_text())
    assert written["median_s"] == 1.5
    assert written["date"].endswith("+00:00")
    assert written["commit"]
    assert written["machine"]["cores"] >= 1
    assert written["machine"]["memory_bytes"] > 10**8
