"""What a job leaves, over HTTP: attempts, checkpoints, files in ranges, the report."""

import hashlib
import os

import pytest

from app.routes import report_examples

SIZE = 3_000_000


@pytest.fixture
def succeeded(client, running, worker, settings):
    """A job that left a file of 3 MB: (job id, its bytes)."""
    job, work = running
    content = os.urandom(SIZE)
    folder = settings.attempt_dir(job, 1) / "artifacts"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(content)
    artifact = {
        "name": "model.safetensors",
        "path": "artifacts/model.safetensors",
        "size_bytes": SIZE,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    worker.finish(work, "succeeded", report=report_examples.REPORT, artifacts=[artifact])
    return job, content


def test_the_file_is_an_attachment_with_its_hash_as_tag(client, succeeded):
    job, content = succeeded
    (artifact,) = client.get(f"/v1/jobs/{job}/artifacts").json()["items"]
    answer = client.get(artifact["url"])
    assert answer.content == content
    assert answer.headers["etag"] == f'"{artifact["sha256"]}"'
    assert answer.headers["content-disposition"] == 'attachment; filename="model.safetensors"'
    assert answer.headers["content-length"] == str(SIZE)
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get(artifact["url"], headers={"If-None-Match": answer.headers["etag"]}).status_code == 304


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=100-199", 100, 199),
        (f"bytes={SIZE - 1}-", SIZE - 1, SIZE - 1),
        ("bytes=-10", SIZE - 10, SIZE - 1),
        (f"bytes=5-{SIZE * 2}", 5, SIZE - 1),
        (f"bytes=-{SIZE * 2}", 0, SIZE - 1),
    ],
)
def test_a_range_is_served_as_206(client, succeeded, asked, first, last):
    job, content = succeeded
    answer = client.get(f"/v1/jobs/{job}/artifacts/model.safetensors", headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{SIZE}"
    assert answer.content == content[first : last + 1]


@pytest.mark.parametrize(
    "asked", [f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE + 5}", "bytes=-0", "bytes=" + "1-2," * 10 + "1-2"]
)
def test_a_range_outside_the_file_is_416(client, succeeded, asked):
    answer = client.get(f"/v1/jobs/{succeeded[0]}/artifacts/model.safetensors", headers={"Range": asked})
    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{SIZE}")
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("asked", ["bytes=5-1", "bytes=x", "lines=1-2", "bytes", "bytes=-", "bytes=1-2,x"])
def test_a_range_that_means_nothing_is_ignored(client, succeeded, asked):
    answer = client.get(f"/v1/jobs/{succeeded[0]}/artifacts/model.safetensors", headers={"Range": asked})
    assert (answer.status_code, len(answer.content)) == (200, SIZE)


def test_a_broken_download_goes_on_only_with_the_same_file(client, succeeded):
    path, content = f"/v1/jobs/{succeeded[0]}/artifacts/model.safetensors", succeeded[1]
    tag = f'"{hashlib.sha256(content).hexdigest()}"'
    assert client.get(path, headers={"Range": "bytes=9-", "If-Range": tag}).content == content[9:]
    for other in ('"other"', f"W/{tag}", "Sat, 21 Nov 2026 10:00:00 GMT"):
        assert client.get(path, headers={"Range": "bytes=9-", "If-Range": other}).content == content


@pytest.mark.parametrize("name", ["none", "..%2f..%2fetc%2fpasswd", "...", "%00", "order.json"])
def test_only_files_that_the_job_left_are_served(client, succeeded, name):
    assert client.get(f"/v1/jobs/{succeeded[0]}/artifacts/{name}").status_code in (404, 405)


def test_a_file_that_was_cut_is_not_served_as_what_it_was(client, succeeded, settings):
    job, _ = succeeded
    path = settings.attempt_dir(job, 1) / "artifacts" / "model.safetensors"
    os.truncate(path, 1000)
    answer = client.get(f"/v1/jobs/{job}/artifacts/model.safetensors")
    assert answer.status_code == 404
    assert "1,000 bytes instead of 3,000,000" in answer.json()["detail"]
    path.unlink()
    assert "is gone" in client.get(f"/v1/jobs/{job}/artifacts/model.safetensors").json()["detail"]


def test_the_report_is_there_when_the_job_succeeded_and_404_before(client, submit, succeeded):
    assert client.get(f"/v1/jobs/{succeeded[0]}/report").json() == report_examples.REPORT
    assert client.get(f"/v1/jobs/{submit()['id']}/report").status_code == 404


def test_attempts_and_checkpoints_are_listed(client, running, worker):
    job, work = running
    saved = {"phase": "training", "epoch": 1, "step": 22, "path": "checkpoints/training-00000022", "size_bytes": 9}
    worker.report(work, {"type": "checkpoint", "sha256": "b" * 64, **saved})
    (checkpoint,) = client.get(f"/v1/jobs/{job}/checkpoints").json()["items"]
    assert (checkpoint["attempt"], checkpoint["epoch"], checkpoint["step"]) == (1, 1, 22)
    (attempt,) = client.get(f"/v1/jobs/{job}/attempts").json()["items"]
    assert (attempt["worker"], attempt["state"], attempt["devices"]) == ("w1", "open", [0])


@pytest.mark.parametrize(
    "what", ["attempts", "checkpoints", "artifacts", "artifacts/x", "report", "metrics", "events", "logs"]
)
def test_an_unknown_job_is_404_everywhere(client, what):
    assert client.get(f"/v1/jobs/job_none/{what}").status_code == 404


def test_a_real_server_sends_a_range_of_a_large_file(serve, succeeded):
    job, content = succeeded
    with serve() as (client, _):
        with client.stream("GET", f"/v1/jobs/{job}/artifacts/model.safetensors") as answer:
            assert hashlib.sha256(b"".join(answer.iter_bytes())).hexdigest() == hashlib.sha256(content).hexdigest()
        part = client.get(f"/v1/jobs/{job}/artifacts/model.safetensors", headers={"Range": "bytes=1000000-"})
        assert (part.status_code, part.content) == (206, content[1_000_000:])
