"""The surface of the command line: its help is frozen, quick, and its errors are one block."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli.commands import COMMANDS, cli
from app.cli.exits import MEANING, Exit
from app.cli.jobs import warn_of_waiting

SNAPSHOT = Path(__file__).with_name("help.txt")
GROUPS = {
    "dataset": ("add", "list", "show", "delete"),
    "keys": ("create", "list", "revoke"),
    "db": ("upgrade", "backup"),
}


def trainyard(*arguments: str, home: Path | None = None, given: str = "") -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRAINYARD_")}
    environment |= {"TRAINYARD_HOME": str(home)} if home else {}
    command = [sys.executable, "-m", "app.cli", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, input=given, check=False)


def whole_help() -> str:
    """The help of every command, as wide as it needs."""
    pages = [[], *([name] for name in COMMANDS), *([group, name] for group in GROUPS for name in GROUPS[group])]
    runner = CliRunner(env={"COLUMNS": "110", "TERMINAL_WIDTH": "110"})
    return "\n".join(runner.invoke(cli, [*page, "--help"], prog_name="trainyard").stdout for page in pages)


def test_the_help_is_the_one_that_was_agreed_on() -> None:
    """A change is renewed with `python tests/app/cli/renew_help.py`, and reviewed as a change of the surface."""
    assert whole_help() == SNAPSHOT.read_text("utf-8")


@pytest.mark.parametrize("name", sorted({*COMMANDS} - {"serve", "api", "worker"}))
def test_every_command_speaks_json(name: str) -> None:
    assert "--json" in CliRunner().invoke(cli, [name, "--help"]).stdout


def test_every_exit_code_is_explained() -> None:
    assert set(MEANING) == set(Exit)
    text = " ".join(CliRunner().invoke(cli, ["--help"]).stdout.split())
    assert all(f"{code.value}: {meaning}" in text for code, meaning in MEANING.items())


def test_help_loads_nothing_heavy() -> None:
    code = "import sys, app.cli.commands; print(sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    heavy = {"torch", "fastapi", "sqlalchemy", "celery", "pydantic", "httpx", "uvicorn", "alembic", "numpy"}
    assert not heavy & set(json.loads(loaded.replace("'", '"')))


def test_without_a_service_the_way_out_is_said(tmp_path: Path) -> None:
    done = trainyard("list", home=tmp_path / "home")
    assert done.returncode == Exit.UNREACHABLE
    assert done.stdout == ""
    assert "trainyard: no service answers at http://127.0.0.1:" in done.stderr
    assert "trainyard serve" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_spec_that_is_not_json_is_a_usage_error_with_its_place(tmp_path: Path) -> None:
    done = trainyard("submit", "-", home=tmp_path, given='{"dataset": }')
    assert done.returncode == Exit.USAGE
    assert "line 1 column 13" in done.stderr


def test_a_spec_file_that_is_missing_is_named(tmp_path: Path) -> None:
    done = trainyard("submit", str(tmp_path / "none.json"), home=tmp_path)
    assert done.returncode == Exit.USAGE
    assert "none.json cannot be read: No such file" in done.stderr


def test_who_submits_what_no_worker_can_run_is_warned(capsys: pytest.CaptureFixture[str]) -> None:
    for reason in ("no_worker", "waiting_for_gpus", "no_capable_worker"):
        warn_of_waiting({"pending": {"reason": reason, "detail": f"{reason}: 4 devices."}})
    warn_of_waiting({"pending": None})
    assert capsys.readouterr().err == "warning: no_capable_worker: 4 devices.\n"
