"""What the worker reads from its environment: `TRAINYARD_*`, the same names as the service uses.

Its own class, since a worker knows nothing of the service but `app.contract`, and needs no database.
"""

import re
import socket
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


def _host_as_id() -> str:
    name = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()).lstrip("._-")[:100]
    return name or "worker"


class WorkerSettings(BaseSettings):
    """Every field is `TRAINYARD_<NAME>` in the environment; all have defaults. Empty variables count as unset."""

    model_config = SettingsConfigDict(env_prefix="TRAINYARD_", env_ignore_empty=True, extra="ignore")

    home: Path = Field(Path("~/.trainyard"), description="Shared with the service on the same machine.")
    url: str | None = Field(None, description="Base URL of the service; otherwise the one in HOME/run/api.json.")
    broker_url: str | None = Field(None, description="Otherwise the embedded broker's socket in HOME/run.")
    worker_token: SecretStr | None = Field(None, description="Otherwise the one in HOME/worker_token.")
    worker_id: str = Field(default_factory=_host_as_id, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    worker_slots: int | None = Field(None, ge=0, le=1024, description="CPU slots of a host without GPUs.")
    task_slots: int = Field(2, ge=0, le=64, description="Background tasks beside jobs.")
    task_memory_bytes: int = Field(4 << 30, ge=1 << 20, description="Resident memory of one background task.")
    plan_timeout_s: float = Field(300.0, gt=0)
    import_timeout_s: float = Field(6 * 3600.0, gt=0)
    idle_ask_s: float = Field(15.0, gt=0, description="An idle worker asks for work so often, nudged or not.")
    cache_dir: Path | None = Field(None, description="Decoded images, on a local disk; otherwise HOME/cache.")
    cache_bytes: int | None = Field(None, ge=0, description="Most that they may take; otherwise a fifth of the disk.")
    device_cache_bytes: int | None = Field(
        None,
        ge=0,
        description="Most of them on the device of each process; otherwise a quarter of a GPU's memory.",
    )
    drain_s: float = Field(30.0, gt=0, description="How long running jobs may save when the worker stops.")
    warm_start: bool = Field(True, description="Keep a process with the libraries loaded, and fork runs of it.")
    warm_attempts: int = Field(500, ge=1, description="It is replaced after so many runs.")
    warm_hours: float = Field(24.0, gt=0, description="And after so many hours.")
    log_format: Literal["text", "json"] = "text"
    training_command: list[str] | None = Field(
        None, description="For tests only: a JSON list run in place of `python -m worker.training`."
    )

    warm_program: str | None = Field(
        None, description="For tests only: a module loaded in place of `worker.training.warm`."
    )

    @property
    def warms(self) -> bool:
        """Whether runs may be forked from a warm parent: it could not fork a command of a test."""
        return self.warm_start and (self.training_command is None or self.warm_program is not None)

    @property
    def run_dir(self) -> Path:
        """Runtime files of this machine: addresses, sockets, records of running attempts."""
        return self.home.expanduser().absolute() / "run"

    @property
    def cache_environment(self) -> dict[str, str]:
        """What tells programs of this worker where decoded images are kept, and how many."""
        folder = (self.cache_dir or self.home / "cache").expanduser().absolute()
        limits = {"TRAINYARD_CACHE_BYTES": self.cache_bytes, "TRAINYARD_DEVICE_CACHE_BYTES": self.device_cache_bytes}
        given = {name: str(limit) for name, limit in limits.items() if limit is not None}
        return {"TRAINYARD_CACHE_DIR": str(folder)} | given

    @property
    def records_dir(self) -> Path:
        """One file per running supervisor; see `worker.records`."""
        return self.run_dir / "attempts"

    @property
    def broker(self) -> str:
        """The broker's URL; without a setting, the socket of the one that `trainyard serve` starts."""
        return self.broker_url or f"redis+socket://{self.run_dir / 'broker.sock'}"

    def token(self) -> str:
        """The secret of the worker's door, read anew each time: the service may make it after we start."""
        if self.worker_token is not None:
            return self.worker_token.get_secret_value()
        try:
            return (self.home.expanduser() / "worker_token").read_text().strip()
        except OSError:
            return ""
