"""The import rules hold, and each of them is awake: a planted violation breaks exactly the rule it offends."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RULES = 9


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
            "--no-cache",
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in ("app", "worker", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_import_rules_hold() -> None:
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"Contracts: {RULES} kept, 0 broken." in result.stdout


@pytest.mark.parametrize(
    ("module", "line", "rule"),
    [
        ("app/store/jobs.py", "import app.services.jobs", "app: main -> routes"),
        ("app/services/jobs.py", "import worker", "app knows neither the worker"),
        ("app/changes.py", "import torch", "app knows neither the worker"),
        ("app/contract/spec.py", "import httpx", "app.contract imports pydantic alone"),
        ("worker/server.py", "import app.settings", "worker takes only app.contract"),
        ("worker/tasks.py", "import worker.training.errors", "the Celery process and the supervisor"),
        ("worker/training/loop.py", "import httpx", "worker.training is a torch program"),
        ("worker/training/loop.py", "import keras", "worker.training loads no TensorFlow"),
        ("worker/tensorflow/phase.py", "import torch", "worker.tensorflow loads no torch"),
        ("worker/training/data/folder.py", "import worker.training.models", "families of worker.training"),
    ],
)
def test_a_planted_violation_is_caught(copy: Path, module: str, line: str, rule: str) -> None:
    source = copy / module
    source.write_text(f"{line}\n{source.read_text('utf-8')}", "utf-8")
    result = lint_imports(copy)
    assert result.returncode == 1, result.stdout + result.stderr
    broken = [line for line in result.stdout.splitlines() if line.endswith("BROKEN")]
    assert any(line.startswith(rule) for line in broken), result.stdout
