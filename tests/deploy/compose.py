"""docker-compose.yml as Compose reads it: merged, with its variables filled in, checked against what a service may say.

Covers the part of the Compose specification that the files here use; every other key is refused, so a typo is found.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

ROOT = Path(__file__).parents[2]
GPU, CPU = ("docker-compose.yml",), ("docker-compose.yml", "docker-compose.cpu.yml")
SECRETS = {"POSTGRES_PASSWORD", "BROKER_PASSWORD", "TRAINYARD_WORKER_TOKEN"}
GIVEN = {name: f"made-{name.lower()}-" + "0" * 32 for name in SECRETS}


class Missing(Exception):
    """A required variable has no value; the message is the file's own."""


class _Loader(yaml.SafeLoader):
    """YAML with Compose's `!reset`, which takes a key away again."""


class _Reset:
    pass


_Loader.add_constructor("!reset", lambda _loader, _node: _Reset())


class _Known(BaseModel):
    model_config = ConfigDict(extra="forbid")


Duration = Annotated[str, Field(pattern=r"^\d+s$")]
Bytes = Annotated[str, Field(pattern=r"^\d+[kmg]$")]


class Health(_Known):
    """`test` begins with CMD or CMD-SHELL."""

    test: list[str] = []
    interval: Duration | None = None
    timeout: Duration | None = None
    retries: int | None = None
    start_period: Duration | None = None
    disable: bool = False


class Build(_Known):
    """Of one target of the Dockerfile."""

    context: str
    target: str
    args: dict[str, str] = {}


class Dependency(_Known):
    """What must have happened before a service starts."""

    condition: Literal["service_started", "service_healthy", "service_completed_successfully"]


class Service(_Known):
    """One container."""

    image: str
    build: Build | None = None
    user: str | None = None
    command: list[str]
    environment: dict[str, str]
    networks: list[str]
    ports: list[str] = []
    volumes: list[str] = []
    tmpfs: list[str] = []
    shm_size: Bytes | None = None
    depends_on: dict[str, Dependency] = {}
    deploy: dict[str, Any] | None = None
    healthcheck: Health
    restart: Annotated[str, Field(pattern=r"^(always|unless-stopped|on-failure(:\d+)?)$")]
    stop_grace_period: Duration = "10s"
    init: bool = False
    read_only: bool = False
    cap_drop: list[str] = []
    security_opt: list[str] = []
    logging: dict[str, Any] = {}

    @property
    def stop_grace_s(self) -> int:
        """From SIGTERM to SIGKILL."""
        return int(self.stop_grace_period.removesuffix("s"))

    def mounted(self) -> dict[str, str]:
        """The sources of its volumes, by the path inside."""
        return {inside: source for source, inside in (volume.split(":")[:2] for volume in self.volumes)}


class Project(_Known):
    """The whole file."""

    name: str
    services: dict[str, Service]
    networks: dict[str, dict[str, bool]]
    volumes: dict[str, None]


def raw(files: tuple[str, ...] = GPU) -> dict[str, Any]:
    """The files merged, with their variables as they are written."""
    merged: dict[str, Any] = {}
    for name in files:
        _merge(merged, yaml.load((ROOT / name).read_text("utf-8"), _Loader))
    return {key: value for key, value in merged.items() if not key.startswith("x-")}


def project(environment: dict[str, str], files: tuple[str, ...] = GPU) -> Project:
    """What Compose would start in this environment. Raises `Missing`."""
    return Project.model_validate(_filled(raw(files), environment))


def _merge(base: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, _Reset):
            base.pop(key, None)
        elif isinstance(value, dict) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = value


def _filled(value: Any, environment: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(each, environment) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, environment) for each in value]
    return interpolated(value, environment) if isinstance(value, str) else value


def interpolated(text: str, environment: dict[str, str]) -> str:
    """`$$`, `${NAME}`, `${NAME:-default}` and `${NAME:?message}`; both may hold more of them."""
    done, rest = "", text
    while "$" in rest:
        before, _, rest = rest.partition("$")
        if rest.startswith("$"):
            done, rest = done + before + "$", rest[1:]
            continue
        assert rest.startswith("{"), f"a bare $ in {text!r}"
        variable, rest = _Variable.read(rest[1:])
        done += before + variable.value(environment)
    return done + rest


@dataclass(frozen=True)
class _Variable:
    name: str
    operator: str
    operand: str

    @classmethod
    def read(cls, text: str) -> "tuple[_Variable, str]":
        """The variable whose closing brace stands in `text`, and what follows it."""
        depth, end = 1, 0
        while depth:
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        body = text[: end - 1]
        name, colon, operand = body.partition(":")
        return cls(name, operand[:1] if colon else "", operand[1:]), text[end:]

    def value(self, environment: dict[str, str]) -> str:
        """As the shell's; a variable that is set and empty counts as unset behind a colon."""
        if found := environment.get(self.name):
            return found
        if self.operator == "?":
            raise Missing(f"{self.name}: {self.operand}")
        return interpolated(self.operand, environment) if self.operator == "-" else ""


def variables(value: Any) -> set[str]:
    """The names of all variables in a part of the file."""
    found: set[str] = set()

    class Noting(dict[str, str]):
        def get(self, name: str, _default: Any = None) -> Any:
            found.add(name)
            return None

    def walk(part: Any) -> None:
        if isinstance(part, dict):
            part = list(part.values())
        if isinstance(part, list):
            for each in part:
                walk(each)
        elif isinstance(part, str):
            interpolated(part.replace(":?", ":-"), Noting())

    walk(value)
    return found
