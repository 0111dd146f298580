"""A preview over real HTTP, made by a real worker, and from the command line."""

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.cli.exits import Exit
from app.contract.previews import Preview
from tests.e2e.place import Api, Place, spec, wait_for

pytestmark = pytest.mark.timeout(400)
PNG = b"\x89PNG\r\n\x1a\n"
REQUEST: dict[str, Any] = {
    "dataset": {"kind": "builtin", "name": "digits"},
    "augment": [{"kind": "random_crop", "size": [32, 32], "scale": [0.6, 1]}, {"kind": "random_rotate", "degrees": 15}],
    "count": 5,
    "epochs": 2,
    "seed": 3,
}  # fmt: skip


def asked(api: Api, body: dict[str, Any], accept: str) -> httpx.Response:
    """The answer, asked for again while a busy machine has not made it."""
    answers: list[httpx.Response] = []

    def is_there() -> bool:
        answers.append(api.call("POST", "/v1/previews", json=body, headers={"Accept": accept}))
        return answers[-1].status_code != 503

    wait_for(is_there, 300)
    return answers[-1]


def test_the_api_answers_a_picture_or_its_parts(api: Api) -> None:
    picture = asked(api, REQUEST, "image/png")
    assert picture.status_code == 200, picture.text
    assert picture.headers["content-type"] == "image/png"
    assert picture.content.startswith(PNG)
    shown = Preview.model_validate_json(asked(api, REQUEST, "application/json").content)
    assert [len(shown.images), len(shown.originals)] == [10, 5]
    assert all(base64.b64decode(each.png).startswith(PNG) for each in shown.images)
    assert all([drawn.kind for drawn in each.drawn] == ["random_crop", "random_rotate"] for each in shown.images)


def test_the_same_seed_gives_the_same_bytes_when_they_are_made_again(api: Api, place: Place) -> None:
    first = asked(api, REQUEST, "image/png").content
    for file in (place.home / "storage" / "tasks").rglob("*"):
        if file.is_file():
            file.unlink()
    assert asked(api, REQUEST, "image/png").content == first
    assert asked(api, REQUEST | {"seed": 4}, "image/png").content != first


def test_a_set_that_cannot_be_trained_on_is_refused_with_the_reason(api: Api, place: Place) -> None:
    for name in ("cats", "dogs"):
        (place.home / "datasets" / "broken" / name).mkdir(parents=True)
        (place.home / "datasets" / "broken" / name / "1.png").write_bytes(b"no image")
    refused = asked(api, {"dataset": {"kind": "folder", "path": "broken"}}, "image/png")
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/dataset"
    assert "cats/1.png is not a JPEG" in refused.json()["detail"]


def test_the_command_line_writes_the_grid_of_a_job_spec(api: Api, place: Place, tmp_path: Path) -> None:
    job, grid = tmp_path / "spec.json", tmp_path / "grid.png"
    job.write_text(json.dumps(spec(2)))
    asked(api, {"dataset": spec(2)["dataset"], "augment": spec(2)["augment"], "count": 6}, "image/png")
    done = place.command("preview", str(job), "-o", str(grid), "--count", "6")
    assert done.returncode == Exit.SUCCEEDED, done.stderr
    assert grid.read_bytes().startswith(PNG)
    shown = Preview.model_validate_json(place.command("preview", str(job), "--count", "6", "--json", check=True).stdout)
    assert len(shown.images) == 6
    assert [each.kind for each in shown.spec.augment] == ["random_crop", "normalize"]
    grid.write_bytes(b"another file")
    assert place.command("preview", str(job), "-o", str(grid), "--count", "6").returncode == Exit.FAILED
    assert grid.read_bytes() == b"another file"
