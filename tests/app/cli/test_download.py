"""Downloads go on where they broke off, and a wrong byte is never kept."""

import hashlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from app.cli.download import download
from app.cli.exits import CommandFailed
from app.cli.service import Service

CONTENT = bytes(range(256)) * 1000
ARTIFACT = {"name": "model.safetensors", "size_bytes": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()}


class Files(BaseHTTPRequestHandler):
    """One file, with ranges."""

    content = CONTENT
    asked: list[str | None]

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.asked.append(asked)
        begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(self.content) - begin))
        self.end_headers()
        self.wfile.write(self.content[begin:])

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Files]]:
    handler = type("Handler", (Files,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("TRAINYARD_URL", f"http://127.0.0.1:{server.server_port}")
        yield handler
        server.shutdown()
        thread.join()


def fetch(folder: Path, **options: Any) -> Path:
    service = Service()
    try:
        return download(service, "job_1", ARTIFACT, folder, **options)
    finally:
        service.close()


def test_a_file_appears_whole_and_right(files: type[Files], tmp_path: Path) -> None:
    path = fetch(tmp_path / "new folder")
    assert path.read_bytes() == CONTENT
    assert [each.name for each in path.parent.iterdir()] == ["model.safetensors"]


def test_an_interrupted_download_goes_on_from_its_last_byte(files: type[Files], tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.part").write_bytes(CONTENT[:1000])
    assert fetch(tmp_path).read_bytes() == CONTENT
    assert files.asked == ["bytes=1000-"]


def test_what_is_left_of_another_file_is_fetched_afresh(files: type[Files], tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.part").write_bytes(b"older")
    assert fetch(tmp_path).read_bytes() == CONTENT
    assert files.asked == ["bytes=5-", None]


def test_a_file_that_is_there_is_not_fetched_again(files: type[Files], tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(CONTENT)
    fetch(tmp_path)
    assert files.asked == []


def test_another_file_of_that_name_stays_unless_forced(files: type[Files], tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"mine")
    with pytest.raises(CommandFailed, match="--force"):
        fetch(tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == b"mine"
    assert fetch(tmp_path, force=True).read_bytes() == CONTENT


def test_wrong_bytes_are_not_kept(files: type[Files], tmp_path: Path) -> None:
    files.content = CONTENT[::-1]
    with pytest.raises(CommandFailed, match="wrong SHA-256"):
        fetch(tmp_path)
    assert list(tmp_path.iterdir()) == []
