"""The files of a checked data set over HTTP: pages of them, and all of them as CSV."""

import csv
import hashlib
import io
from pathlib import Path

import pytest

from app.contract.file_table import COLUMNS, FILE, SUMMARY, TableSummary
from app.errors import InvalidQuery
from app.services import samples
from app.services.samples import FileTable, SampleFilter
from app.store.cursors import write_cursor
from tests.support.service import FACTS

KNOWN = ["", "", "png", "12", "16", "99", "c" * 64]
ODD = ["=1+1.png", '"quoted", with a comma.png', "line\r\nbreak.png", "one\nmore.png", "猫.png", "-x.png"]


def record(path, label="cats", part="", status="used"):
    return [path, label, part, status, "", *KNOWN] if status == "used" else [path, label, part, status, "is empty", *[""] * 7]  # fmt: skip  # noqa: E501


@pytest.fixture
def client(make_app, as_client, tmp_path):
    for name in ("cats", "dogs"):
        (tmp_path / "roots" / "pets" / name).mkdir(parents=True)
        (tmp_path / "roots" / "pets" / name / "1.png").touch()
    return as_client(make_app(dataset_roots=(tmp_path / "roots",)))


@pytest.fixture
def checked(client, hands):
    """Registers a set whose import found these records."""

    def make(records, **end):
        made = client.post("/v1/datasets", json={"name": "pets", "source": {"path": "pets"}}).json()["id"]
        worker = hands(client)
        work = worker.claim()
        write(Path(work["order"]["results"]), records)
        worker.finish_task(work, **(end or {"result": FACTS}))
        return f"/v1/datasets/{made}"

    return make


def write(folder, records):
    text = io.StringIO(newline="")
    csv.writer(text).writerows([COLUMNS, *records])
    content = text.getvalue().encode()
    folder.mkdir(parents=True)
    (folder / FILE).write_bytes(content)
    summary = TableSummary(records=len(records), size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    (folder / SUMMARY).write_text(summary.model_dump_json())


def pages(client, path, **params):
    cursor, found = None, []
    while True:
        answer = client.get(f"{path}/samples", params={**params, **({"cursor": cursor} if cursor else {})})
        assert answer.status_code == 200, answer.text
        found.append(answer.json()["items"])
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return found


def test_every_file_comes_once_page_by_page(client, checked):
    names = [*ODD, *[f"{number}.png" for number in range(20)]]
    path = checked([record(name) for name in names])
    found = pages(client, path, limit=4)
    assert [each["path"] for page in found for each in page] == names
    assert {len(page) for page in found} <= {4, 2}
    assert found[0][0] == {
        "path": "=1+1.png", "label": "cats", "part": None, "status": "used", "reason": None, "finding": None,
        "duplicate_of": None, "format": "png", "height": 12, "width": 16, "size_bytes": 99, "sha256": "c" * 64,
    }  # fmt: skip


def test_filters_find_what_they_name(client, checked):
    path = checked([
        record("1", "cats", "train"), record("2", "dogs", "train"), record("3", "cats", "val"),
        record("4", "cats", "val", "refused"), record("5", "", "", "refused"),
    ])  # fmt: skip

    def names(**params):
        return [each["path"] for page in pages(client, path, limit=1, **params) for each in page]

    assert names(label="cats") == ["1", "3", "4"]
    assert names(part="val", label="cats", status="used") == ["3"]
    assert names(status="refused") == ["4", "5"]
    assert names(label="birds") == []
    assert client.get(f"{path}/samples?part=test").status_code == 422
    assert client.get(f"{path}/samples?class=cats").status_code == 422


def test_a_request_reads_a_bounded_part(client, checked, monkeypatch):
    monkeypatch.setattr(samples, "MAX_SCAN_BYTES", 2000)
    path = checked([record(str(number)) for number in range(200)] + [record("last", "dogs")])
    found = pages(client, path, label="dogs")
    assert len(found) > 5
    assert [each["path"] for page in found for each in page] == ["last"]


def test_the_table_is_downloaded_as_it_is(client, checked):
    path = checked([record(name) for name in ODD])
    answer = client.get(f"{path}/files.csv")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/csv")
    assert "attachment" in answer.headers["content-disposition"]
    rows = list(csv.reader(io.StringIO(answer.content.decode(), newline=""), strict=True))
    assert rows == [list(COLUMNS), *[record(name) for name in ODD]]
    tag = answer.headers["etag"]
    assert tag.strip('"') == hashlib.sha256(answer.content).hexdigest()
    assert client.get(f"{path}/files.csv", headers={"If-None-Match": tag}).status_code == 304
    part = client.get(f"{path}/files.csv", headers={"Range": "bytes=10-19", "If-Range": tag})
    assert (part.status_code, part.content) == (206, answer.content[10:20])
    assert client.get(f"{path}/files.csv", headers={"Range": "bytes=999999-"}).status_code == 416


@pytest.mark.parametrize("what", ["samples", "files.csv"])
def test_before_there_is_a_table_the_answer_says_why(client, hands, what):
    made = client.post("/v1/datasets", json={"name": "pets", "source": {"path": "pets"}}).json()["id"]
    path = f"/v1/datasets/{made}/{what}"
    answer = client.get(path)
    assert (answer.status_code, answer.json()["state"]) == (409, "importing")
    worker = hands(client)
    worker.finish_task(worker.claim(), failure={"code": "bad_dataset", "message": "There is no folder."})
    assert client.get(path).status_code == 404
    assert client.get(f"/v1/datasets/ds_none/{what}").status_code == 404


def test_a_refused_set_has_a_table_too(client, checked):
    path = checked(
        [record("1", status="refused")], failure={"code": "bad_dataset", "message": "1 of 1 files cannot be used"}
    )
    assert client.get(path).json()["state"] == "failed"
    assert [each["reason"] for page in pages(client, path) for each in page] == ["is empty"]


def test_a_cursor_of_another_set_is_refused(client, checked):
    path, other = (checked([record(name) for name in ODD]) for _ in range(2))
    own = client.get(f"{path}/samples?limit=1").json()["next_cursor"]
    assert client.get(f"{other}/samples", params={"cursor": own}).status_code == 422


def test_a_place_within_a_record_is_refused_and_never_a_crash(tmp_path):
    write(tmp_path / "made", [record(name) for name in ODD])
    summary = TableSummary.model_validate_json((tmp_path / "made" / SUMMARY).read_bytes())
    found = FileTable(tmp_path / "made" / FILE, summary)
    taken = 0
    for place in range(-2, summary.size_bytes + 3):
        try:
            samples.page(found, "ds_1", SampleFilter(), 1, write_cursor("samples ds_1", place))
            taken += 1
        except InvalidQuery:
            pass
    assert len(ODD) + 1 <= taken <= len(ODD) + 4  # beginnings, the end, and at most the line breaks inside names


def test_deleting_a_data_set_deletes_its_table(client, checked, tmp_path):
    path = checked([record("1")])
    folder = tmp_path.rglob(FILE)
    assert len(list(folder)) == 1
    assert client.delete(path).status_code == 204
    assert list(tmp_path.rglob(FILE)) == []
