"""`trainyard preview`: what it asks for, what it writes, and what it says when it cannot."""

import json
import subprocess
from pathlib import Path

import pytest

from app.cli.exits import CommandFailed, Exit
from app.cli.previews import _write, request
from app.contract.job import JobSpec
from app.contract.previews import PreviewSpec
from tests.app.cli.test_commands import trainyard

JOB = JobSpec.examples[1]


def test_a_job_spec_gives_the_fields_that_a_preview_has_too():
    body = request(JOB | {"training": {"seed": 3}, "model": {"kind": "timm", "name": "resnet10t", "channels": 1}})
    assert body == {"dataset": JOB["dataset"], "augment": JOB["augment"], "seed": 3, "channels": 1}
    assert PreviewSpec.model_validate(body).seed == 3


@pytest.mark.parametrize("job", JobSpec.examples)
def test_every_job_has_a_preview(job):
    PreviewSpec.model_validate(request(job))


def test_a_preview_request_is_sent_as_it_is_mistakes_included():
    asked = PreviewSpec.examples[0] | {"cuont": 3}
    assert request(asked) == asked


def test_the_command_line_counts_more_than_the_file():
    assert request(JOB | {"training": {"seed": 3}}, count=4, epochs=None, seed=9)["seed"] == 9
    assert request(PreviewSpec.examples[0], count=4, epochs=None, seed=None) == PreviewSpec.examples[0] | {"count": 4}


@pytest.mark.parametrize("odd", [{"model": None}, {"model": 3, "training": []}, {"model": {}, "dataset": 4}])
def test_what_is_odd_is_left_to_the_service(odd):
    assert set(request(odd)) <= {"dataset"}


def test_another_file_is_replaced_only_when_it_is_said_so(tmp_path: Path):
    path = tmp_path / "grid.png"
    _write(path, b"one", force=False)
    _write(path, b"one", force=False)
    with pytest.raises(CommandFailed, match="--force"):
        _write(path, b"two", force=False)
    assert path.read_bytes() == b"one"
    _write(path, b"two", force=True)
    assert path.read_bytes() == b"two"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path):
    with pytest.raises(CommandFailed, match="cannot be written: No such file or directory"):
        _write(tmp_path / "none" / "grid.png", b"one", force=False)


def preview(home: Path, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return trainyard("preview", *arguments, home=home, given=given)


def test_without_a_place_or_json_it_says_what_to_give(tmp_path: Path):
    done = preview(tmp_path, "-", given=json.dumps(JOB))
    assert (done.returncode, done.stdout) == (Exit.USAGE, "")
    assert "-o grid.png" in done.stderr


def test_a_spec_that_is_not_there_or_no_object_is_a_usage_error(tmp_path: Path):
    for source, given in ((str(tmp_path / "none.json"), ""), ("-", "[]"), ("-", "{")):
        done = preview(tmp_path, source, "-o", str(tmp_path / "grid.png"), given=given)
        assert done.returncode == Exit.USAGE
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "grid.png").exists()


def test_without_a_service_the_way_out_is_said(tmp_path: Path):
    done = preview(tmp_path, "-", "--json", given=json.dumps(JOB))
    assert done.returncode == Exit.UNREACHABLE
    assert "trainyard serve" in done.stderr
