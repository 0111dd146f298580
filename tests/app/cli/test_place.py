"""How the command line finds its service."""

import json
from pathlib import Path

import pytest

from app.cli.place import DEFAULT_URL, service_url
from app.settings import load


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("TRAINYARD_URL", raising=False)
    monkeypatch.setenv("TRAINYARD_HOME", str(tmp_path))
    (tmp_path / "run").mkdir()
    return tmp_path


def test_the_setting_comes_first(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own_home / "run" / "api.json").write_text(json.dumps({"url": "http://127.0.0.1:1", "pid": 1}))
    monkeypatch.setenv("TRAINYARD_URL", "http://trainyard.example:8000/")
    assert service_url() == "http://trainyard.example:8000"


def test_then_what_runs_on_this_home(own_home: Path) -> None:
    (own_home / "run" / "api.json").write_text(json.dumps({"url": "http://127.0.0.1:1", "pid": 1}))
    assert service_url() == "http://127.0.0.1:1"


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null"])
def test_else_the_default(own_home: Path, content: str) -> None:
    assert service_url() == DEFAULT_URL
    (own_home / "run" / "api.json").write_text(content)
    assert service_url() == DEFAULT_URL


def test_the_home_is_the_one_of_the_service(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.cli.place import home

    assert home() == load().home
    monkeypatch.delenv("TRAINYARD_HOME")
    assert home() == load().home
