"""The program that checks a data set for the service."""

import subprocess
import sys
from pathlib import Path

from app.contract.data import Folder
from app.contract.datasets import DatasetFacts
from app.contract.failures import Failure, FailureCode
from app.contract.work import ImportTask
from tests.support.image_sets import image_folder, write


def run(tmp_path: Path, request: bytes) -> tuple[int, bytes]:
    command = [sys.executable, "-m", "worker.training.data_check"]
    write(tmp_path / "request.json", request)
    done = subprocess.run([*command, tmp_path / "request.json", tmp_path / "out.json"], check=False, timeout=60)
    return done.returncode, (tmp_path / "out.json").read_bytes()


def request(folder: Path) -> bytes:
    return ImportTask(source=Folder(path="set"), path=str(folder)).model_dump_json().encode()


def test_a_good_set_is_answered_with_its_facts(tmp_path: Path) -> None:
    code, out = run(tmp_path, request(image_folder(tmp_path / "set", {"a": 2, "b": 3})))
    assert code == 0
    assert DatasetFacts.model_validate_json(out).classes == {"a": 2, "b": 3}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out.json", "progress.json", "request.json", "set"]


def test_a_bad_set_is_answered_with_the_failure(tmp_path: Path) -> None:
    code, out = run(tmp_path, request(image_folder(tmp_path / "set", {"a": 2})))
    assert code == 1
    assert Failure.model_validate_json(out).code == FailureCode.BAD_DATASET


def test_a_defect_is_answered_too(tmp_path: Path) -> None:
    code, out = run(tmp_path, b"{}")
    assert code == 1
    assert Failure.model_validate_json(out).code == FailureCode.INTERNAL
