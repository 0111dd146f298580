"""What the worker reads from its environment."""

import pytest
from pydantic import ValidationError

from worker.settings import WorkerSettings


def test_defaults_need_only_a_home(tmp_path, monkeypatch):
    monkeypatch.setenv("TRAINYARD_HOME", str(tmp_path))
    (tmp_path / "worker_token").write_text("secret\n")

    settings = WorkerSettings()

    assert settings.broker == f"redis+socket://{tmp_path}/run/broker.sock"
    assert settings.records_dir == tmp_path / "run" / "attempts"
    assert settings.token() == "secret"
    assert settings.worker_id


def test_an_empty_variable_counts_as_unset(tmp_path, monkeypatch):
    monkeypatch.setenv("TRAINYARD_URL", "")
    monkeypatch.setenv("TRAINYARD_BROKER_URL", "")

    settings = WorkerSettings(home=tmp_path)

    assert settings.url is None
    assert settings.broker.startswith("redis+socket://")


def test_a_token_of_the_environment_wins_and_is_not_shown(tmp_path, monkeypatch):
    (tmp_path / "worker_token").write_text("other")
    monkeypatch.setenv("TRAINYARD_WORKER_TOKEN", "secret")

    settings = WorkerSettings(home=tmp_path)

    assert settings.token() == "secret"
    assert "secret" not in repr(settings)


@pytest.mark.parametrize("name", ["", "-x", "a/b", "a b", "x" * 101])
def test_a_worker_id_that_the_service_would_refuse_is_refused_here(name):
    with pytest.raises(ValidationError):
        WorkerSettings(worker_id=name)
