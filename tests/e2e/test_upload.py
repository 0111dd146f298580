"""An archive goes in, a trained model comes out; a hostile one leaves nothing but its record."""

import io
import tarfile
from pathlib import Path

import pytest

from tests.e2e.place import Api, Place, wait_for
from tests.support.image_sets import encoded, picture

pytestmark = pytest.mark.timeout(600)
WAIT_S = 300.0


def archive(*more: tarfile.TarInfo) -> bytes:
    """A tar.gz of 40 small pictures in two classes, within a folder of its own."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as made:
        for number in range(40):
            content = encoded(picture(number, 32, 32), ".png")
            member = tarfile.TarInfo(f"flowers/{('rose', 'tulip')[number % 2]}/{number}.png")
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
        for member in more:
            made.addfile(member)
    return out.getvalue()


def uploaded(api: Api, content: bytes) -> dict[str, object]:
    """The data set when its import is over."""
    made = api.call("POST", "/v1/datasets", json={"name": "flowers", "source": {"kind": "upload"}}).json()
    answer = api.call("PUT", f"/v1/datasets/{made['id']}/archive", content=content)
    assert answer.status_code == 202, answer.text
    shown: dict[str, object] = {}

    def is_over() -> bool:
        shown.update(api.get(f"/v1/datasets/{made['id']}"))
        return shown["state"] != "importing"

    wait_for(is_over, WAIT_S, lambda: str(shown))
    return shown


def test_a_job_trains_on_what_was_uploaded(api: Api, place: Place) -> None:
    dataset = uploaded(api, archive())
    assert dataset["state"] == "ready", dataset["failure"]
    assert dataset["facts"]["classes"] == {"rose": 20, "tulip": 20}  # type: ignore[index]
    folder = place.home / "storage" / "datasets" / str(dataset["id"])
    assert [each.name for each in folder.iterdir()] == ["files"]

    job = api.submit(
        {
            "dataset": {"kind": "registered", "id": dataset["id"]},
            "model": {"kind": "timm", "name": "test_resnet"},
            "augment": [{"kind": "resize", "size": [32, 32]}],
            "training": {"epochs": 1, "batch_size": 8},
        }
    )
    assert api.final(job)["state"] == "succeeded"
    assert api.call("DELETE", f"/v1/datasets/{dataset['id']}").status_code == 204
    assert not folder.exists()


def test_a_hostile_archive_is_refused_by_name_and_leaves_nothing(api: Api, place: Place) -> None:
    link = tarfile.TarInfo("flowers/rose/key")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    dataset = uploaded(api, archive(link))
    assert dataset["state"] == "failed"
    assert dataset["failure"]["code"] == "bad_dataset"  # type: ignore[index]
    assert "'flowers/rose/key' is a symbolic link" in dataset["failure"]["message"]  # type: ignore[index]
    left: list[Path] = list((place.home / "storage" / "datasets").iterdir())
    assert left == []
