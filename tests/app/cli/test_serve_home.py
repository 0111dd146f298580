"""The home of `serve`: made, or refused in one line that names it."""

import errno

import pytest

from app import settings
from app.cli.exits import CommandFailed
from app.cli.serve import prepared_home


def test_a_full_disk_is_told_with_the_homes_name(tmp_path, monkeypatch):
    def full(_settings: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")  # as a write says it: without a file name

    monkeypatch.setenv("TRAINYARD_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(settings, "worker_token", full)

    with pytest.raises(CommandFailed, match=f"{tmp_path / 'home'} cannot be made: No space left"):
        prepared_home()
