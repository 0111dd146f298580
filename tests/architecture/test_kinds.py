"""A kind is a file: its public class, its working module and its test exist together, or the missing one is named."""

from pathlib import Path
from typing import Any

import pytest

from app.contract.augment import Augment
from app.contract.compression import Compression
from app.contract.data import Data
from app.contract.distributed import Distributed
from app.contract.models import Model
from app.contract.spec import kinds
from app.contract.training import Optimizer, Schedule

ROOT = Path(__file__).parents[2]
FAMILIES: dict[str, list[Any]] = {
    "data": [Data],
    "models": [Model],
    "augment": [Augment],
    "compression": [Compression],
    "distributed": [Distributed],
    "optim": [Optimizer, Schedule],
}

NO_FAMILY = {"archives", "batched", "cache", "formats"}  # parts in several files, with no kinds of their own


def in_contract(family: str) -> set[str]:
    """Those that worker.training works; the table of app/contract/frameworks.py has the others, and its own test."""
    return {kind for union in FAMILIES[family] for kind, cls in kinds(union).items() if cls.needs_extra is None}


def modules(folder: Path, prefix: str = "") -> set[str]:
    names = {path.stem for path in folder.glob(f"{prefix}*.py") if not path.stem.startswith("_")}
    return {name.removeprefix(prefix) for name in names}


def test_the_families_guarded_here_are_all_there_are() -> None:
    folders = {path.parent.name for path in (ROOT / "worker/training").glob("*/__init__.py")}
    assert folders == set(FAMILIES) | NO_FAMILY
    assert sum(len(in_contract(family)) for family in FAMILIES) >= 19


@pytest.mark.parametrize("family", FAMILIES)
def test_each_kind_has_its_file_and_each_file_its_kind(family: str) -> None:
    assert modules(ROOT / "worker/training" / family) == in_contract(family)


@pytest.mark.parametrize("family", FAMILIES)
def test_each_kind_has_its_test(family: str) -> None:
    tested = modules(ROOT / "tests/worker/training" / family, "test_")
    assert in_contract(family) <= tested
    assert "every_kind" in tested


@pytest.mark.parametrize("family", FAMILIES)
def test_each_kind_shows_an_example_and_says_what_it_does(family: str) -> None:
    for union in FAMILIES[family]:
        for kind, cls in kinds(union).items():
            assert cls.examples, f"{kind} has no example"
            assert all(cls.model_validate(example).model_dump()["kind"] == kind for example in cls.examples)
            assert cls.__doc__, f"{kind} says nothing"
