"""Fixtures of this folder."""

from pathlib import Path

import pytest

from tests.training_runs import warm

__all__ = ["warm"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a cache that is the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("TRAINYARD_CACHE_DIR", str(folder))
    monkeypatch.delenv("TRAINYARD_CACHE_BYTES", raising=False)
    return folder
