"""What an operator can set: environment variables with the prefix TRAINYARD_, each with a default that needs no care.

What cannot be meant is refused at the start, in one line that names the variable.
"""

import os
import secrets
import socket
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Listed = Annotated[tuple[str, ...], NoDecode]
"""Comma-separated in the environment."""


class SettingsError(Exception):
    """A setting that cannot be meant; the message is one line for the operator."""


def _default_slots() -> int:
    return max(2, os.cpu_count() or 1)


class Settings(BaseSettings):
    """Environment variables of the service. Paths are absolute; durations end in `_s`, sizes in `_bytes`."""

    model_config = SettingsConfigDict(env_prefix="TRAINYARD_", env_ignore_empty=True, frozen=True, extra="ignore")

    home: Path = Field(Path("~/.trainyard"), description="Where everything lies that has no place of its own.")
    database_url: str = Field("", description="sqlite:///PATH or postgresql://...; default: trainyard.db in the home.")
    broker_url: str = Field("", description="redis://, rediss:// or redis+socket://; default: the one that serve runs.")
    storage_url: str = Field("", description="file:///FOLDER, shared with all workers; default: storage in the home.")
    dataset_roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        (), description="Folders, separated by ':', under which data sets may lie; default: datasets in the home."
    )
    url: str | None = Field(None, description="Where workers and the command line find the API.")
    worker_token: str | None = Field(None, description="What workers show; default: the file worker_token in the home.")
    worker_id: str = Field(default_factory=socket.gethostname)
    worker_slots: int = Field(default_factory=_default_slots, ge=1, le=1024)
    lease_s: float = Field(60, ge=1, le=3600, description="A claim ends when no heartbeat came for so long.")
    heartbeat_s: float = Field(10, gt=0, le=600)
    stop_grace_s: float = Field(30, ge=0, le=3600, description="From SIGTERM to SIGKILL when a stop is wished.")
    upkeep_s: float = Field(5, gt=0, le=60)
    nudge_after_s: float = Field(30, gt=0, le=3600)
    starvation_s: float = Field(600, ge=0, description="A job that waits so long for devices holds free ones back.")
    require_keys: bool = Field(False, description="Ask for an API key on loopback too: behind a proxy, say.")
    cors_origins: Listed = ()
    allowed_hosts: Listed = ()
    max_body_bytes: int = Field(1_048_576, ge=1024)
    max_archive_bytes: int = Field(64 << 30, ge=1024, description="Largest upload of a data set.")
    max_unpacked_bytes: int = Field(256 << 30, ge=1024, description="What one archive may unpack to.")
    min_free_bytes: int = Field(256 << 20, ge=0, description="Uploads leave so much of the storage's disk free.")
    upload_wait_s: float = Field(86_400, gt=0, description="A data set whose archive never came is forgotten.")
    bad_image_share: float = Field(0.01, ge=0, le=1)
    log_format: Literal["json", "text"] = "text"
    dry_run_wait_s: float = Field(20, ge=0, le=120)

    @field_validator("cors_origins", "allowed_hosts", mode="before")
    @classmethod
    def _split_commas(cls, value: object) -> object:
        return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value

    @field_validator("dataset_roots", mode="before")
    @classmethod
    def _split_colons(cls, value: object) -> object:
        return tuple(filter(None, value.split(":"))) if isinstance(value, str) else value

    @field_validator("home")
    @classmethod
    def _absolute_home(cls, home: Path) -> Path:
        return home.expanduser().absolute()

    @field_validator("dataset_roots")
    @classmethod
    def _absolute_roots(cls, roots: tuple[Path, ...]) -> tuple[Path, ...]:
        for root in roots:
            if not root.is_absolute():
                raise ValueError(f"'{root}' is relative: a data root is an absolute path")
        return roots

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, url: str) -> str:
        if url and not url.startswith(("sqlite:///", "postgresql://", "postgresql+psycopg://")):
            raise ValueError("use sqlite:///PATH or postgresql://USER@HOST/NAME")
        if url.startswith("sqlite:") and url.removeprefix("sqlite:///") in ("", ":memory:"):
            raise ValueError("a database in memory forgets what was acknowledged: give a path")
        return url

    @field_validator("broker_url")
    @classmethod
    def _known_broker(cls, url: str) -> str:
        if url and not url.startswith(("redis://", "rediss://", "redis+socket://")):
            raise ValueError("use redis://, rediss:// or redis+socket://")
        return url

    @field_validator("storage_url")
    @classmethod
    def _known_storage(cls, url: str) -> str:
        parts = urlsplit(url)
        if url and (parts.scheme != "file" or parts.netloc or not parts.path.startswith("/")):
            raise ValueError("only file:///ABSOLUTE/FOLDER is built so far: a file system that API and workers share")
        return url

    @model_validator(mode="after")
    def _lease_outlives_heartbeats(self) -> Self:
        if self.lease_s < 2 * self.heartbeat_s:
            raise ValueError("TRAINYARD_LEASE_S must be at least twice TRAINYARD_HEARTBEAT_S")
        return self

    @property
    def database(self) -> str:
        """The database's URL, with the default filled in."""
        return self.database_url or f"sqlite:///{self.home / 'trainyard.db'}"

    @property
    def broker(self) -> str:
        """The broker's URL, with the default filled in: the socket of the broker that `serve` runs."""
        return self.broker_url or f"redis+socket://{self.home / 'run' / 'broker.sock'}"

    @property
    def storage_dir(self) -> Path:
        """The folder of all jobs' files."""
        return Path(unquote(urlsplit(self.storage_url).path)) if self.storage_url else self.home / "storage"

    @property
    def roots(self) -> tuple[Path, ...]:
        """Under these folders a data set may lie."""
        return self.dataset_roots or (self.home / "datasets",)

    @property
    def weights_dir(self) -> Path:
        """Pretrained weights: `<timm name>.safetensors`."""
        return self.home / "weights"

    @property
    def uploads_dir(self) -> Path:
        """The files of uploaded data sets, a folder for each."""
        return self.storage_dir / "datasets"

    def task_dir(self, task_id: str) -> Path:
        """Files of a background task, until nobody asks for them any more."""
        return self.storage_dir / "tasks" / task_id

    def job_dir(self, job_id: str) -> Path:
        """All files of a job."""
        return self.storage_dir / "jobs" / job_id

    def checks_dir(self, dataset_id: str) -> Path:
        """What the checks of a data set wrote, a folder for each try."""
        return self.storage_dir / "checks" / dataset_id

    def check_dir(self, dataset_id: str, number: int) -> Path:
        """What one try at checking a data set wrote."""
        return self.checks_dir(dataset_id) / str(number)

    def attempt_dir(self, job_id: str, attempt: int) -> Path:
        """All that one attempt wrote."""
        return self.job_dir(job_id) / "attempts" / str(attempt)


def load() -> Settings:
    """The settings of this process. Raises `SettingsError` with one line a person can act on."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = f"TRAINYARD_{str(first['loc'][0]).upper()}: " if first["loc"] else ""
        raise SettingsError(name + first["msg"].removeprefix("Value error, ")) from error


def worker_token(settings: Settings) -> str:
    """What workers must show: the setting, else the file `worker_token` in the home, made when it is missing."""
    return settings.worker_token or _token_file(settings.home / "worker_token")


@cache
def _token_file(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        draft = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(secrets.token_urlsafe(32) + "\n")
        with suppress(FileExistsError):
            os.link(draft, path)  # whole or not at all; whoever comes second keeps the first one's
        draft.unlink()
    token = path.read_text("utf-8").strip()
    if not token:
        raise SettingsError(f"{path} is empty: write a token into it, or delete it and a new one is made")
    return token
