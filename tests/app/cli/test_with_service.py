"""Commands against a real `trainyard api` that has no worker: everything that needs none."""

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.cli.exits import Exit
from app.contract.job import JobSpec

SPEC = json.dumps(JobSpec.examples[0] | {"name": "one", "labels": {"team": "vision"}})


class Service:
    """A home with an API on it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("TRAINYARD_")}
        self.environment |= {"TRAINYARD_HOME": str(home), "TRAINYARD_DRY_RUN_WAIT_S": "0.2"}
        # A port on which nobody listens: the broker is down, and submits still work.
        self.environment["TRAINYARD_BROKER_URL"] = "redis://127.0.0.1:9/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.home / "api.log").open("ab") as log:
            self._process = self.open("api", "--port", "0", "--upgrade", stdout=log, stderr=log)
        while not (self.home / "run" / "api.json").exists():
            assert self._process.poll() is None, (self.home / "api.log").read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        assert self._process
        self._process.terminate()
        self._process.wait(20)

    def open(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "app.cli", *arguments], env=self.environment, **options)

    def run(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "app.cli", *arguments]
        return subprocess.run(
            command, env=self.environment, input=given, capture_output=True, text=True, check=False, timeout=60
        )

    def json(self, *arguments: str, given: str = "") -> Any:
        done = self.run(*arguments, "--json", given=given)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    made = Service(tmp_path_factory.mktemp("home"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def job(service: Service) -> str:
    return str(service.json("submit", "-", given=SPEC)["id"])


def test_submit_prints_the_id_alone_on_stdout(service: Service) -> None:
    done = service.run("submit", "-", given=SPEC)
    assert done.returncode == 0
    assert done.stdout.startswith("job_")
    assert done.stdout.count("\n") == 1
    assert f"trainyard watch {done.stdout.strip()}" in done.stderr


def test_the_same_key_makes_one_job(service: Service) -> None:
    first, second = (service.json("submit", "-", "--idempotency-key", "k", given=SPEC) for _ in range(2))
    assert first["id"] == second["id"]


def test_a_refused_spec_shows_every_pointer(service: Service) -> None:
    done = service.run("submit", "-", given='{"dataset": {"kind": "builtin", "name": "digits"}, "modle": {}}')
    assert done.returncode == Exit.REFUSED
    assert done.stdout == ""
    assert "/modle: " in done.stderr
    assert "/model: " in done.stderr


def test_a_dry_run_that_no_worker_answers_says_so(service: Service) -> None:
    done = service.run("submit", "-", "--dry-run", given=SPEC)
    assert done.returncode == Exit.UNREACHABLE
    assert "(503)" in done.stderr


def test_a_preview_is_refused_with_its_pointer_and_waits_for_a_worker(service: Service) -> None:
    grid = service.home / "grid.png"
    refused = service.run("preview", "-", "-o", str(grid), "--count", "0", given=SPEC)
    assert refused.returncode == Exit.REFUSED
    assert "/count: " in refused.stderr
    waiting = service.run("preview", "-", "-o", str(grid), given=SPEC)
    assert waiting.returncode == Exit.UNREACHABLE
    assert "(503)" in waiting.stderr
    assert "No worker began making the preview" in waiting.stderr
    assert not grid.exists()


def test_jobs_are_listed_and_filtered(service: Service, job: str) -> None:
    assert service.json("list", "--label", "team=vision", "--limit", "1")[0]["id"] == job
    assert service.json("list", "--label", "team=audio") == []
    assert service.json("list", "--state", "running") == []
    shown = service.run("list")
    assert job in shown.stdout
    assert "queued" in shown.stdout
    assert service.run("list", "--label", "team").returncode == Exit.USAGE


def test_a_job_is_shown_with_the_reason_why_it_waits(service: Service, job: str) -> None:
    shown = service.run("show", job).stdout
    assert "queued: " in shown
    assert "team=vision" in shown


def test_a_job_can_be_cancelled_cloned_and_deleted(service: Service, job: str) -> None:
    assert service.run("delete", job).returncode == Exit.REFUSED
    assert service.json("cancel", job)["state"] == "cancelled"
    clone = service.json("clone", job, "--set", '{"training": {"seed": 7}}')
    assert clone["cloned_from"] == job
    assert clone["spec"]["training"]["seed"] == 7
    assert service.run("retry", clone["id"]).returncode == Exit.REFUSED
    assert service.json("delete", job) == {"deleted": job}
    assert "(404)" in service.run("show", job).stderr


def test_watching_a_cancelled_job_exits_with_its_code(service: Service, job: str) -> None:
    service.run("cancel", job)
    done = service.run("watch", job)
    assert done.returncode == Exit.CANCELLED
    assert done.stdout.splitlines()[-1].startswith(f"{job} cancelled")
    as_json = service.run("watch", job, "--json")
    assert as_json.returncode == Exit.CANCELLED
    assert json.loads(as_json.stdout)["state"] == "cancelled"


def test_ctrl_c_detaches_and_says_how_to_cancel(service: Service) -> None:
    follow = service.open("submit", "-", "-f", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert follow.stdin
    assert follow.stdout
    follow.stdin.write(SPEC.encode())
    follow.stdin.close()
    follow.stdin = None
    assert follow.stdout.readline().startswith(b"queued")
    follow.send_signal(signal.SIGINT)
    _, errors = follow.communicate(timeout=60)
    assert follow.returncode == Exit.DETACHED
    job = errors.decode().partition("submitted ")[2].split()[0]
    assert f"trainyard cancel {job}" in errors.decode()
    assert f"trainyard watch {job}" in errors.decode()
    assert service.json("show", job)["state"] == "queued"


def test_a_watch_goes_on_after_a_restart_of_the_service_on_another_port(service: Service, job: str) -> None:
    watch = service.open("watch", job, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert watch.stdout
    assert watch.stdout.readline().startswith(b"queued")
    service.stop()
    assert watch.stdout.readline().startswith(b"the service does not answer")
    service.start()
    service.run("cancel", job)
    output, _ = watch.communicate(timeout=60)
    assert watch.returncode == Exit.CANCELLED
    assert b"cancelled" in output


def test_a_watch_says_that_a_job_is_paused_and_how_it_goes_on(service: Service, job: str) -> None:
    watch = service.open("watch", job, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert watch.stdout
    assert watch.stdout.readline().startswith(b"queued")
    assert service.run("pause", job).stdout == f"{job} paused\n"
    assert watch.stdout.readline() == f"paused: nothing of it runs until `trainyard resume {job}`\n".encode()
    assert service.json("resume", job)["state"] == "queued"
    assert watch.stdout.readline().startswith(b"queued")
    service.run("cancel", job)
    output, _ = watch.communicate(timeout=60)
    assert (watch.returncode, output.splitlines()[-1]) == (Exit.CANCELLED, f"{job} cancelled".encode())
    assert service.run("pause", job).returncode == Exit.REFUSED


def test_metrics_logs_and_artifacts_of_a_job_that_never_ran_are_empty(service: Service, job: str) -> None:
    assert service.json("metrics", job)["series"] == {}
    assert service.json("artifacts", job) == []
    assert service.run("logs", job).stdout == ""
    missing = service.run("artifacts", job, "model.safetensors")
    assert missing.returncode == Exit.REFUSED
    assert "no artifact 'model.safetensors'" in missing.stderr


def test_data_sets_are_registered_listed_and_forgotten(service: Service) -> None:
    for name in ("daisy", "rose"):
        folder = service.home / "datasets" / "flowers" / name
        folder.mkdir(parents=True)
        (folder / "one.png").write_bytes(b"not looked at here")
    made = service.json("dataset", "add", "flowers", "flowers", "--no-wait")
    assert made["state"] == "importing"
    assert [each["id"] for each in service.json("dataset", "list")] == [made["id"]]
    assert made["id"] in service.run("dataset", "show", made["id"]).stdout
    assert service.run("dataset", "add", "secrets", "/etc").returncode == Exit.REFUSED
    assert service.json("dataset", "delete", made["id"]) == {"deleted": made["id"]}


def test_the_catalog_names_every_kind(service: Service) -> None:
    assert "random_rotate" in service.run("catalog").stdout
    assert {each["name"] for each in service.json("catalog", "augment")} == {"augment"}
    assert service.run("catalog", "nothing").returncode == Exit.USAGE


def test_workers_are_listed(service: Service) -> None:
    assert service.json("workers") == {"items": []}


def test_a_database_that_is_up_to_date_stays_so(service: Service) -> None:
    assert service.json("db", "upgrade") == {"upgraded": True}


def test_the_address_is_taken_away_when_the_api_stops(service: Service) -> None:
    service.stop()
    assert not (service.home / "run" / "api.json").exists()
    service.start()
    assert json.loads((service.home / "run" / "api.json").read_text()).keys() == {"url", "pid"}


def test_an_archive_and_a_folder_of_this_machine_are_sent(service: Service, tmp_path: Path) -> None:
    folder = tmp_path / "flowers"
    for name in ("rose/1.png", "tulip/2.png", ".hidden/3.png"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(name.encode() * 100)
    (folder / "rose" / "link.png").symlink_to("/etc/passwd")
    archive = tmp_path / "flowers.zip"
    archive.write_bytes(b"PK")
    sent = service.json("dataset", "add", "a", str(archive), "--no-wait")
    assert sent["source"]["archive"]["size_bytes"] == 2
    packed = service.json("dataset", "add", "b", str(folder), "--upload", "--no-wait")
    stored = service.home / "storage" / "datasets" / packed["id"] / "archive"
    with tarfile.open(stored) as found:
        assert found.getnames() == ["rose", "rose/1.png", "tulip", "tulip/2.png"]
        member = found.extractfile("rose/1.png")
        assert member is not None
        assert member.read() == b"rose/1.png" * 100
    assert "uploaded" in service.run("dataset", "show", packed["id"]).stdout
    service.json("dataset", "delete", sent["id"])
    assert not (stored.parents[1] / sent["id"]).exists()


def test_what_cannot_be_sent_leaves_no_data_set(service: Service, tmp_path: Path) -> None:
    before = service.json("dataset", "list")
    (tmp_path / "empty.zip").touch()
    assert service.run("dataset", "add", "a", str(tmp_path / "empty.zip")).returncode == Exit.REFUSED
    assert service.run("dataset", "add", "a", str(tmp_path / "none.zip"), "--upload").returncode != 0
    assert service.json("dataset", "list") == before
