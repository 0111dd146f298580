"""The Dockerfile as stages of instructions; and its build steps, run on this machine instead of in an engine."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from tests.deploy.compose import ROOT


@dataclass
class Stage:
    """One FROM and what follows it, as (instruction, arguments)."""

    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def last(self, instruction: str) -> str:
        """The arguments of its last such instruction."""
        return [arguments for each, arguments in self.steps if each == instruction][-1]


def arguments() -> dict[str, str]:
    """What ARG before the first FROM sets."""
    lines = _lines()
    return dict(line.split(None, 1)[1].split("=", 1) for line in lines if line.startswith("ARG ") and "IMAGE" in line)


def stages() -> dict[str, Stage]:
    """All stages by name, in their order."""
    found: dict[str, Stage] = {}
    for line in _lines():
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            base, _, name = rest.partition(" AS ")
            found[name] = Stage(name, base)
        elif found:
            list(found.values())[-1].steps.append((instruction, rest.strip()))
    return found


def lineage(name: str) -> list[Stage]:
    """A stage and those that it is built on, the first one first."""
    known = stages()
    chain = [known[name]]
    while chain[0].base in known:
        chain.insert(0, known[chain[0].base])
    return chain


def sources(step: str) -> list[str]:
    """What a COPY takes from the checkout."""
    words = shlex.split(step)
    return [] if words[0].startswith("--from") else words[:-1]


def is_sent(path: str) -> bool:
    """Whether .dockerignore lets a file reach the builder; the last pattern that matches decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
        pattern = line.removeprefix("!")
        if line and not line.startswith("#") and _matches(path, pattern):
            sent = line.startswith("!")
    return sent


def build(name: str, folder: Path) -> Path:
    """Run the COPY and RUN steps of a stage and its bases with `folder` in place of /; answers the environment's bin.

    Needs the package index, as the real build does. Nothing outside `folder` is written.
    """
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / "src").mkdir()
    (folder / "opt").mkdir()
    environment = {key: value for key, value in os.environ.items() if key.startswith(("PIP_", "LANG", "HTTP", "http"))}
    environment["PATH"] = f"{folder / 'bin'}:{os.environ['PATH']}"
    for stage in lineage(name):
        for instruction, step in stage.steps:
            if instruction == "ENV":
                environment |= dict(word.split("=", 1) for word in shlex.split(step))
            elif instruction == "COPY":
                _copy(step, folder / "src")
            elif instruction == "RUN":
                _run(step, folder, environment)
    return folder / "opt" / "trainyard" / "bin"


def _copy(step: str, target: Path) -> None:
    for source in sources(step):
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target / source, dirs_exist_ok=True, ignore=_unsent)
        else:
            assert is_sent(source)
            shutil.copy(ROOT / source, target / source)


def _unsent(folder: str, names: list[str]) -> list[str]:
    inside = Path(folder).relative_to(ROOT)
    return [name for name in names if not is_sent(str(inside / name))]


def _run(step: str, folder: Path, environment: dict[str, str]) -> None:
    here = step.replace("/opt/trainyard", str(folder / "opt" / "trainyard"))
    done = subprocess.run(
        ["sh", "-ec", here],
        cwd=folder / "src",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{step}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def command(stage: Stage) -> list[str]:
    """Its CMD, in the exec form."""
    found: list[str] = json.loads(stage.last("CMD"))
    return found


def _matches(path: str, pattern: str) -> bool:
    """A pattern names a path or one of the folders above it; `**/` stands for any depth."""
    parts = path.split("/")
    above = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    if pattern.startswith("**/"):
        return any(fnmatch(part, pattern[3:]) for part in parts)
    return any(fnmatch(each, pattern) for each in above)


def _lines() -> list[str]:
    text = (ROOT / "Dockerfile").read_text("utf-8")
    whole = re.sub(r"\\\n\s*", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    return [line for line in whole.splitlines() if line.strip()]
