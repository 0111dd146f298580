"""The images without an engine: targets, users, sources, commands, and what is installed in them."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy import dockerfile
from tests.deploy.compose import GIVEN, ROOT, project

TARGETS = ("api", "worker")
NOT_IN_THE_API = {"torch", "torchvision", "timm", "opencv-python-headless", "numpy", "scikit-learn", "tensorflow-cpu"}


@pytest.fixture(params=TARGETS)
def target(request):
    return request.param


def console_scripts() -> set[str]:
    return set(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"])


def test_the_targets_of_the_compose_file_are_there():
    assert set(TARGETS) <= set(dockerfile.stages())
    assert list(dockerfile.stages())[-1] == "api"
    built = {name: service.build for name, service in project(GIVEN).services.items() if service.build}
    assert {name: build.target for name, build in built.items()} == {"migrate": "api", "api": "api", "worker": "worker"}
    declared = {step.split("=")[0] for kind, step in dockerfile.stages()["build-worker"].steps if kind == "ARG"}
    assert set(built["worker"].args) == declared


def test_the_base_is_pinned():
    assert re.fullmatch(r"python:3\.11-slim-[a-z]+", dockerfile.arguments()["PYTHON_IMAGE"])
    assert {stage.base for stage in dockerfile.stages().values()} - set(dockerfile.stages()) == {"${PYTHON_IMAGE}"}


def test_a_container_runs_as_a_fixed_user_that_is_not_root(target):
    stage = dockerfile.stages()[target]
    uid, gid = map(int, stage.last("USER").split(":"))
    assert uid == gid >= 10000
    assert [kind for kind, _ in stage.steps].index("USER") > [kind for kind, _ in stage.steps].index("COPY")
    runtime = " ".join(step for _, step in dockerfile.lineage(target)[0].steps)
    assert f"--uid {uid} " in runtime
    assert f"-o {uid} -g {gid} -m 0750 /var/lib/trainyard /srv/trainyard/storage /srv/trainyard/datasets" in runtime


def test_the_build_tools_stay_behind(target):
    copies = [step for kind, step in dockerfile.stages()[target].steps if kind == "COPY"]
    assert copies == [f"--from=build-{target} /opt/trainyard /opt/trainyard"]


def test_every_source_is_there_and_reaches_the_builder():
    copied = {
        source
        for stage in dockerfile.stages().values()
        for kind, step in stage.steps
        if kind == "COPY"
        for source in dockerfile.sources(step)
    }
    assert copied == {"pyproject.toml", "requirements.lock", "README.md", "app", "worker", "migrations"}
    assert all((ROOT / source).exists() and dockerfile.is_sent(source) for source in copied)
    assert dockerfile.is_sent("app/contract/timm_models.txt")


@pytest.mark.parametrize("path", [".env", ".git/config", ".venv/bin/python", "app/__pycache__/main.cpython-311.pyc"])
def test_secrets_history_and_leavings_do_not_reach_the_builder(path):
    assert not dockerfile.is_sent(path)


def test_every_install_is_held_to_the_lock():
    installs = [
        (stage.name, step)
        for stage in dockerfile.stages().values()
        for kind, step in stage.steps
        if kind == "RUN" and "pip install" in step
    ]
    assert len(installs) == 5
    assert all("-c requirements.lock" in step or "--no-deps" in step for _, step in installs)
    assert {name for name, step in installs if "[worker]" in step or "torch" in step} == {"build-worker"}


def test_the_commands_are_real_ones(target):
    commands = [dockerfile.command(dockerfile.stages()[target])]
    commands += [
        service.command
        for service in project(GIVEN).services.values()
        if service.build and service.build.target == target
    ]
    for command in commands:
        assert command[0] in console_scripts()
        words = [word for word in command[1:] if word.isalpha()]
        options = {word for word in command[1:] if word.startswith("--")}
        script = Path(sys.executable).with_name(command[0])
        done = subprocess.run([script, *words, "--help"], capture_output=True, text=True, check=True)
        assert f"Usage: {' '.join([command[0], *words])} " in done.stdout
        assert options <= set(re.findall(r"--[a-z]+", done.stdout))


def test_the_compose_file_starts_what_the_images_do():
    for name in TARGETS:
        assert project(GIVEN).services[name].command == dockerfile.command(dockerfile.stages()[name])


def test_nothing_that_the_service_needs_brings_torch_or_numpy():
    needed, waiting = set(), ["trainyard"]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in needed:
            continue
        needed.add(name)
        waiting += [one.name for one in map(Requirement, requires(name) or []) if _applies(one)]
        waiting += ["redis"] if name == "celery" else []  # of its extra, `celery[redis]`
    assert len(needed) > 30, "the walk has gone blind"
    assert not needed & NOT_IN_THE_API


def _applies(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({**default_environment(), "extra": ""})
