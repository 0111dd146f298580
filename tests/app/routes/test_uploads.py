"""Archives over HTTP: received whole or not at all, by a real server, while it answers others."""

import base64
import hashlib
import os
import shutil
import signal
import socket
import threading
import time

import httpx
import pytest

from app.errors import Conflict, NotFound
from app.services import parts, uploads
from app.services.uploads import Upload
from tests.support.service import FACTS, worker
from tests.support.small_disk import small_disk

pytestmark = pytest.mark.timeout(600)  # on a busy machine a server takes a minute to come up

NEW = {"name": "flowers", "source": {"kind": "upload"}}
DATA = b"PK\3\4 not looked into by the service " * 1000
SHA256 = hashlib.sha256(DATA)
MB = b"x" * (1 << 20)


@pytest.fixture
def waiting(client):
    """The path of a data set that waits for its archive."""
    answer = client.post("/v1/datasets", json=NEW)
    assert answer.status_code == 201, answer.text
    return answer.headers["location"]


@pytest.fixture
def folder(settings, waiting):
    return settings.uploads_dir / waiting.rpartition("/")[2]


def left(folder):
    return sorted(each.name for each in folder.iterdir()) if folder.exists() else []


def test_an_archive_is_received_and_a_worker_is_told(client, waiting, folder, worker):
    made = client.get(waiting).json()
    assert (made["state"], made["waiting_for"]) == ("importing", "archive")
    assert made["source"] == {"kind": "upload", "archive": None}
    assert worker.claim() is None

    answer = client.put(f"{waiting}/archive", content=DATA)

    assert (answer.status_code, answer.headers["location"]) == (202, waiting)
    shown = answer.json()
    assert shown == client.get(waiting).json()
    assert (shown["state"], shown["waiting_for"]) == ("importing", None)
    assert shown["source"]["archive"] == {"size_bytes": len(DATA), "sha256": SHA256.hexdigest()}
    assert left(folder) == ["archive"]
    assert (folder / "archive").read_bytes() == DATA
    work = worker.claim()
    assert work["order"]["path"] == str(folder / "files")
    assert work["order"]["archive"]["path"] == str(folder / "archive")
    worker.finish_task(work, result=FACTS)
    assert client.get(waiting).json()["state"] == "ready"
    assert client.put(f"{waiting}/archive", content=DATA).status_code == 409


def test_a_set_that_is_none_or_a_folder_takes_no_archive(client, waiting, settings):
    assert client.put("/v1/datasets/ds_1/archive", content=DATA).status_code == 404
    assert client.put("/v1/datasets/%2e%2e/archive", content=DATA).status_code == 404
    root = settings.roots[0]
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        (root / name / "1.png").touch()
    made = client.post("/v1/datasets", json={"name": "f", "source": {"path": str(root)}}).json()
    assert made["source"]["kind"] == "folder"
    answer = client.put(f"/v1/datasets/{made['id']}/archive", content=DATA)
    assert (answer.status_code, answer.json()["state"]) == (409, "importing")


@pytest.mark.parametrize("header", ["Content-Digest", "Digest"])
def test_a_digest_is_checked(client, waiting, folder, header):
    colon = ":" if header == "Content-Digest" else ""

    def put(digest, algorithm="sha-256"):
        value = f"{algorithm}={colon}{base64.b64encode(digest).decode()}{colon}"
        return client.put(f"{waiting}/archive", content=DATA, headers={header: value})

    answer = put(hashlib.sha256(b"other").digest())
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:trainyard:problem:digest-mismatch")
    assert put(SHA256.digest(), "md5").status_code == 422
    assert left(folder) == []
    assert client.get(waiting).json()["waiting_for"] == "archive"
    two = {name: f"sha-256=:{base64.b64encode(SHA256.digest()).decode()}:" for name in ("Content-Digest", "Digest")}
    two[header] = f"sha-256=:{'A' * 43}=:"
    assert client.put(f"{waiting}/archive", content=DATA, headers=two).status_code == 400
    assert put(SHA256.digest()).status_code == 202


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Encoding": "gzip"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ({"Content-Range": "bytes 0-9/100"}, 400),
    ],
)
def test_a_body_that_is_not_the_archive_is_refused(client, waiting, folder, headers, status):
    answer = client.put(f"{waiting}/archive", content=DATA, headers=headers)
    assert (answer.status_code, answer.headers["connection"]) == (status, "close")
    assert client.put(f"{waiting}/archive", content=b"").status_code == 400
    assert left(folder) == []


def test_a_disk_without_room_is_503_and_nothing_stays(make_app, as_client, waiting, folder):
    tight = as_client(make_app(min_free_bytes=1 << 60))
    for content in (DATA, iter([DATA])):
        answer = tight.put(f"{waiting}/archive", content=content)
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:trainyard:problem:storage-full")
        assert left(folder) == []


def test_how_much_has_come_is_shown_while_it_comes(database, settings, client, waiting, folder):
    database.settings = settings
    upload = Upload.begin(database, waiting.rpartition("/")[2], None)
    for count in (1, 2):
        upload.part.write(DATA)
        shown = client.get(waiting).json()
        assert shown["progress"] == {
            "stage": "receiving",
            "files_seen": 0,
            "files": 0,
            "archive_bytes_seen": count * len(DATA),
            "archive_bytes": 0,
        }
        assert client.get("/v1/datasets").json()["items"] == [shown]
    upload.part.close()
    assert client.get(waiting).json()["progress"] is None
    folder.mkdir(exist_ok=True)
    (folder / "archive.part").write_bytes(DATA)  # of a service that was killed
    assert client.get(waiting).json()["progress"] is None


def test_who_looks_how_much_has_come_keeps_no_upload_off(tmp_path):
    over = threading.Event()

    def look():
        while not over.wait(0.0001):
            parts.received_bytes(tmp_path / "set")

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for _ in range(200):
            parts.Part(tmp_path / "set", 0).close()
    finally:
        over.set()
        thread.join()


def test_two_at_once_make_one(database, settings, client, waiting, folder):
    dataset = waiting.rpartition("/")[2]
    database.settings = settings
    first = Upload.begin(database, dataset, None)
    answer = client.put(f"{waiting}/archive", content=DATA)
    assert (answer.status_code, answer.json()["state"]) == (409, "importing")
    first.part.write(DATA)
    assert first.finish().source["archive"]["size_bytes"] == len(DATA)
    first.part.close()
    with pytest.raises(Conflict):
        Upload.begin(database, dataset, None)
    assert left(folder) == ["archive"]


def test_many_at_once_make_one_and_leave_one_file(client, waiting, folder, worker):
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(client.put(f"{waiting}/archive", content=DATA).status_code))
        for _ in range(6)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(answers) == [202] + [409] * 5
    assert left(folder) == ["archive"]
    assert worker.claim() is not None
    assert worker.claim(task_slots=9) is None


def test_a_set_that_is_deleted_on_the_way_takes_its_upload_along(database, settings, client, waiting, folder):
    database.settings = settings
    upload = Upload.begin(database, waiting.rpartition("/")[2], None)
    upload.part.write(DATA)
    assert client.delete(waiting).status_code == 204
    with pytest.raises(NotFound):
        upload.finish()
    upload.part.close()
    assert left(folder) == []
    assert left(settings.uploads_dir) == []


def test_deletion_takes_the_files_unless_a_job_needs_them(client, waiting, folder, worker, spec):
    client.put(f"{waiting}/archive", content=DATA)
    work = worker.claim()
    (folder / "files" / "a").mkdir(parents=True)
    worker.finish_task(work, result=FACTS)
    dataset = {"kind": "registered", "id": waiting.rpartition("/")[2]}
    job = client.post("/v1/jobs", json=spec | {"dataset": dataset}).json()
    assert client.delete(waiting).status_code == 409
    assert (folder / "files").exists()
    client.post(f"/v1/jobs/{job['id']}/cancel")
    assert client.delete(waiting).status_code == 204
    assert not folder.exists()


def test_a_set_that_failed_leaves_no_files_and_takes_no_other_archive(client, waiting, folder, worker):
    client.put(f"{waiting}/archive", content=DATA)
    work = worker.claim()
    (folder / "files.1.part").mkdir()
    worker.finish_task(work, failure={"code": "bad_dataset", "message": "no zip"})
    assert client.get(waiting).json()["state"] == "failed"
    assert not folder.exists()
    answer = client.put(f"{waiting}/archive", content=DATA)
    assert (answer.status_code, answer.json()["state"]) == (409, "failed")


def sweep(database, settings, pass_time):
    database.settings = settings
    pass_time(700)  # since the last one
    uploads.sweep(database)


def test_a_set_whose_archive_never_comes_is_forgotten(database, settings, client, waiting, pass_time):
    done = client.post("/v1/datasets", json=NEW).headers["location"]
    client.put(f"{done}/archive", content=DATA)
    pass_time(settings.upload_wait_s - 10_000)
    sweep(database, settings, pass_time)
    assert client.get(waiting).status_code == 200
    held = Upload.begin(database, waiting.rpartition("/")[2], None)
    pass_time(10_000)
    sweep(database, settings, pass_time)
    assert client.get(waiting).status_code == 200  # an upload is on its way
    held.part.close()
    sweep(database, settings, pass_time)
    assert client.get(waiting).status_code == 404
    assert client.get(done).status_code == 200


def test_what_killed_processes_left_is_swept_and_nothing_else(database, settings, client, waiting, folder, pass_time):
    other = client.post("/v1/datasets", json=NEW).headers["location"]
    client.put(f"{other}/archive", content=DATA)
    old, young, stranger, halfway = (settings.uploads_dir / name for name in ("ds_old", "ds_young", "ds_x", "ds_y"))
    for each in (old, young, stranger, halfway):
        each.mkdir()
    for each in (old, young):
        (each / "archive.part").write_bytes(DATA)
    before = time.time() - 10_000
    os.utime(old / "archive.part", (before, before))
    (stranger / "archive").write_bytes(DATA)  # no row: perhaps this is another's database, so it is not ours to remove
    (halfway / "deleted").touch()  # no row, and a note that it was deleted
    shutil.copytree(stranger, settings.uploads_dir / "ds_z.deleted")
    sweep(database, settings, pass_time)
    assert left(old) == []
    assert left(young) == ["archive.part"]
    assert left(stranger) == ["archive"]
    assert not halfway.exists()
    assert not (settings.uploads_dir / "ds_z.deleted").exists()
    assert left(settings.uploads_dir / other.rpartition("/")[2]) == ["archive"]


# From here on over real connections.


def head(path, port, *more):
    lines = [f"PUT {path}/archive HTTP/1.1", f"Host: 127.0.0.1:{port}", *more]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def eventually(holds):
    deadline = time.monotonic() + 300
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def new_set(client, settings):
    made = client.post("/v1/datasets", json=NEW).json()["id"]
    return f"/v1/datasets/{made}", settings.uploads_dir / made


def test_a_large_upload_needs_little_memory_and_lets_others_be_answered(serve, settings):
    with serve() as (client, process):
        path, folder = new_set(client, settings)
        before_kb = peak_kb(process.pid)
        seen = []

        def pieces():
            for number in range(300):
                if number % 50 == 0:
                    assert client_beside.get(path).json()["waiting_for"] == "archive"
                    seen.append(number)
                yield MB

        with httpx.Client(base_url=client.base_url, trust_env=False, timeout=60) as client_beside:
            answer = client.put(f"{path}/archive", content=pieces(), timeout=120)
        assert answer.status_code == 202, answer.text
        assert len(seen) == 6
        assert (folder / "archive").stat().st_size == 300 << 20
        assert answer.json()["source"]["archive"]["sha256"] == hashlib.sha256(MB * 300).hexdigest()
        assert peak_kb(process.pid) - before_kb < 40_000


def peak_kb(pid):
    with open(f"/proc/{pid}/status") as file:  # noqa: PTH123
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))


def test_a_client_that_breaks_off_leaves_nothing_and_another_begins_anew(serve, settings):
    with serve() as (client, _):
        path, folder = new_set(client, settings)
        for more, sent in (("Content-Length: 10000000", MB * 3), ("Transfer-Encoding: chunked", b"100000\r\n" + MB)):
            with socket.create_connection(("127.0.0.1", client.base_url.port)) as connection:
                connection.sendall(head(path, client.base_url.port, more) + sent)
                eventually((folder / "archive.part").exists)
                if more.startswith("Content"):
                    eventually(lambda: (folder / "archive.part").stat().st_size > 0)
            eventually(lambda: not folder.exists())
            assert client.get(path).json()["waiting_for"] == "archive"
        assert client.put(f"{path}/archive", content=DATA).status_code == 202


def test_a_service_that_is_killed_in_the_midst_can_be_sent_the_archive_again(serve, settings):
    with serve() as (client, process):
        path, folder = new_set(client, settings)
        with socket.create_connection(("127.0.0.1", client.base_url.port)) as connection:
            connection.sendall(head(path, client.base_url.port, "Content-Length: 10000000") + MB * 3)
            eventually(lambda: (folder / "archive.part").exists() and (folder / "archive.part").stat().st_size > 0)
            process.send_signal(signal.SIGKILL)
            process.wait()
    assert left(folder) == ["archive.part"]
    with serve() as (client, _):
        assert client.put(f"{path}/archive", content=DATA).status_code == 202
    assert left(folder) == ["archive"]
    assert (folder / "archive").read_bytes() == DATA


def test_a_service_that_stops_in_the_midst_leaves_nothing(serve, settings):
    with serve() as (client, process):
        path, folder = new_set(client, settings)
        with socket.create_connection(("127.0.0.1", client.base_url.port)) as connection:
            connection.sendall(head(path, client.base_url.port, "Content-Length: 10000000") + MB * 3)
            eventually(lambda: (folder / "archive.part").exists() and (folder / "archive.part").stat().st_size > 0)
            process.send_signal(signal.SIGTERM)
            process.wait(300)
    assert left(folder) == []


def test_who_asks_before_sending_is_told_before(serve, settings):
    def ask(port, path, length):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(head(path, port, f"Content-Length: {length}", "Expect: 100-continue"))
            said = connection.recv(65536)
            while not said.startswith(b"HTTP/1.1 100") and (more := connection.recv(65536)):
                said += more  # a refusal ends the connection
            return said

    with serve(TRAINYARD_MAX_ARCHIVE_BYTES="5000000") as (client, _):
        path, folder = new_set(client, settings)
        port = client.base_url.port
        assert ask(port, path, 10) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert b"HTTP/1.1 404 " in ask(port, "/v1/datasets/ds_1", 10)
        too_large = ask(port, path, 5_000_001)
        assert b"HTTP/1.1 413 " in too_large
        assert b"5000000 bytes" in too_large
        assert b"TRAINYARD_MAX_ARCHIVE_BYTES" in too_large
        eventually(lambda: not folder.exists())


def test_chunks_beyond_the_limit_are_413_and_nothing_stays(serve, settings):
    with serve(TRAINYARD_MAX_ARCHIVE_BYTES="5000000") as (client, _):
        path, folder = new_set(client, settings)
        assert client.put(f"{path}/archive", content=iter([MB] * 4)).status_code == 202
        path, folder = new_set(client, settings)
        answer = client.put(f"{path}/archive", content=iter([MB] * 50))
        assert answer.status_code == 413
        eventually(lambda: not folder.exists())


def test_a_disk_that_is_really_full_keeps_nothing_and_the_next_upload_works(serve, settings):
    """Its length is not told: the first look finds room, and the fourth piece none."""
    with small_disk(settings.uploads_dir, 3 << 20) as disk, serve(TRAINYARD_MIN_FREE_BYTES="0") as (client, _):
        path, _ = new_set(client, settings)
        for _ in range(2):
            answer = client.put(f"{path}/archive", content=iter([MB] * 5))
            assert (answer.status_code, answer.json()["type"]) == (503, "urn:trainyard:problem:storage-full")
            assert "Nothing was kept: free some space" in answer.json()["detail"]
            eventually(lambda: left(disk) == [])
            assert client.get(path).json()["waiting_for"] == "archive"
        (disk / "filler").write_bytes(MB * 2)
        assert client.put(f"{path}/archive", content=MB * 2).status_code == 503
        (disk / "filler").unlink()
        assert client.put(f"{path}/archive", content=MB * 2).status_code == 202


def test_an_upload_may_take_longer_than_other_requests(app, settings):
    """The limits of a whole request are 0.5 s here, and 3 s for an upload; a pause may last 20 s."""
    import uvicorn

    from app.edge.protocol import Protocol

    class Short(Protocol):
        request_s = 0.5
        upload_s = 3.0
        body_pause_s = 20.0

    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, http=Short, log_config=None))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            path, folder = new_set(client, settings)
            assert client.put(f"{path}/archive", content=slow(3, 0.4)).status_code == 202
            path, folder = new_set(client, settings)
            with pytest.raises(httpx.HTTPError):
                raise_for(client.put(f"{path}/archive", content=slow(20, 0.4)))
            eventually(lambda: not folder.exists())
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def slow(count, pause_s):
    for _ in range(count):
        yield DATA
        time.sleep(pause_s)


def raise_for(answer):
    assert answer.status_code == 408
    raise httpx.HTTPError("too slow")


def test_services_agree_with_their_worker(service):
    """The claim carries the archive through the services too, on both databases."""
    with service.database.write() as session:
        row = uploads.add(session, service.database.settings, "x")
    upload = Upload.begin(service.database, row.id, 4)
    upload.part.write(b"data")
    upload.finish([hashlib.sha256(b"data").digest()])
    upload.part.close()
    work = service.claim(worker(task_slots=1))
    assert work.order.archive.max_unpacked_bytes == service.database.settings.max_unpacked_bytes
