"""Every mutant is noticed by the tests that it names. A copy of the sources is changed, never the sources."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.mutants import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
TREES = ("app", "worker", "migrations", "tests", "docs", "scripts")
PASSED, FAILED = 0, 1
TEST_S = 90  # of one test in the copy; one that waits for ever has noticed, too
QUICK = {"guard_without_attempt", "an_event_too_many_is_taken_for_acknowledged"}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources and the tests, somewhere else."""
    target = tmp_path_factory.mktemp("mutants")
    for name in TREES:
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", target)
    return target


def run(copy: Path, on: str, *tests: str) -> subprocess.CompletedProcess[str]:
    """The tests, with the copy's sources in front of those that are installed."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", "-k", on]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [*command, "-o", f"timeout={TEST_S}", *tests],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def check_noticed(copy: Path, mutant: Mutant) -> None:
    """Change the copy, run the mutant's tests, and change it back."""
    path = copy / mutant.file
    before = path.read_text("utf-8")
    changed = before
    for old, new in mutant.edits:
        changed = changed.replace(old, new)
    path.write_text(changed, "utf-8")
    try:
        done = run(copy, mutant.on, *mutant.tests)
    finally:
        path.write_text(before, "utf-8")
    assert done.returncode == FAILED, f"{mutant.name} was not noticed:\n{done.stdout[-3000:]}{done.stderr[-1000:]}"
    assert "ERROR collecting" not in done.stdout, f"{mutant.name} cannot even be imported:\n{done.stdout[-3000:]}"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_mutant_still_fits_the_source(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text("utf-8")
    assert [text.count(old) for old, _ in mutant.edits] == [1] * len(mutant.edits)
    assert all((ROOT / test.partition("::")[0]).is_file() for test in mutant.tests)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", sorted(QUICK))
def test_a_sample_of_mutants_is_noticed(copy: Path, name: str) -> None:
    check_noticed(copy, next(mutant for mutant in MUTANTS if mutant.name == name))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_without_a_mutant_the_same_tests_pass(copy: Path) -> None:
    done = run(copy, "not postgresql", *sorted({test for mutant in MUTANTS for test in mutant.tests}))
    assert done.returncode == PASSED, done.stdout[-3000:]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_is_noticed(copy: Path, mutant: Mutant) -> None:
    check_noticed(copy, mutant)
