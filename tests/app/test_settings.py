"""Settings: defaults that need no care, and one clear line for what cannot be meant."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from app import settings as module
from app.settings import Settings, SettingsError, load, worker_token


@pytest.fixture(autouse=True)
def _clean(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith("TRAINYARD_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TRAINYARD_HOME", str(tmp_path))


def test_without_any_setting_everything_lies_in_the_home(tmp_path):
    found = load()
    assert found.database == f"sqlite:///{tmp_path}/trainyard.db"
    assert found.broker == f"redis+socket://{tmp_path}/run/broker.sock"
    assert found.storage_dir == tmp_path / "storage"
    assert found.roots == (tmp_path / "datasets",)
    assert found.attempt_dir("job_1", 2) == tmp_path / "storage/jobs/job_1/attempts/2"


def test_lists_are_split(monkeypatch, tmp_path):
    monkeypatch.setenv("TRAINYARD_DATASET_ROOTS", "/a:/b b")
    monkeypatch.setenv("TRAINYARD_CORS_ORIGINS", "https://a.example, https://b.example,")
    monkeypatch.setenv("TRAINYARD_STORAGE_URL", "file:///mnt/a%20b")
    found = load()
    assert [str(root) for root in found.roots] == ["/a", "/b b"]
    assert found.cors_origins == ("https://a.example", "https://b.example")
    assert str(found.storage_dir) == "/mnt/a b"


@pytest.mark.parametrize(("name", "value"), [
    ("STORAGE_URL", "s3://bucket/x"), ("STORAGE_URL", "file://host/x"), ("STORAGE_URL", "relative"),
    ("DATASET_ROOTS", "data"), ("DATASET_ROOTS", "/a:b"), ("DATABASE_URL", "mysql://x/y"),
    ("DATABASE_URL", "sqlite://"), ("DATABASE_URL", "sqlite:///:memory:"), ("BROKER_URL", "amqp://x"),
    ("LEASE_S", "0"), ("UPKEEP_S", "soon"), ("BAD_IMAGE_SHARE", "2"), ("MAX_BODY_BYTES", "1"),
])  # fmt: skip
def test_what_cannot_be_meant_is_refused_in_one_line_with_its_name(monkeypatch, name, value):
    monkeypatch.setenv(f"TRAINYARD_{name}", value)
    with pytest.raises(SettingsError, match=f"TRAINYARD_{name}") as refused:
        load()
    assert "\n" not in str(refused.value)


def test_a_lease_that_a_late_heartbeat_would_lose_is_refused(monkeypatch):
    monkeypatch.setenv("TRAINYARD_LEASE_S", "15")
    with pytest.raises(SettingsError, match="twice"):
        load()


def test_the_worker_token_is_made_once_and_readable_by_its_owner_alone(tmp_path):
    settings = Settings(home=tmp_path / "new")
    token = worker_token(settings)
    assert len(token) > 30
    assert stat.S_IMODE((tmp_path / "new/worker_token").stat().st_mode) == 0o600
    module._token_file.cache_clear()
    assert worker_token(settings) == token


def test_processes_that_start_together_agree_on_the_token(tmp_path):
    def make(_):
        return module._token_file.__wrapped__(tmp_path / "worker_token")

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(make, range(8)))) == 1


def test_an_empty_token_file_is_refused(tmp_path):
    (tmp_path / "worker_token").write_text("\n")
    with pytest.raises(SettingsError, match="empty"):
        worker_token(Settings(home=tmp_path))
