"""Keys on the command line, and real servers on addresses that others can reach."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from app.cli.exits import Exit
from app.contract.job import JobSpec

SPEC = json.dumps(JobSpec.examples[0])


def own_address() -> str:
    """An IPv4 address of this machine that is not loopback."""
    for addresses in psutil.net_if_addrs().values():
        for each in addresses:
            if each.family == socket.AF_INET and not each.address.startswith("127."):
                return str(each.address)
    pytest.skip("this machine has no address but loopback")


class Home:
    """A home, and commands on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("TRAINYARD_")}
        self.environment |= {"TRAINYARD_HOME": str(folder), "TRAINYARD_BROKER_URL": "redis://127.0.0.1:9/0"}

    def run(self, *arguments: str, given: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        whole = [sys.executable, "-m", "app.cli", *arguments]
        return subprocess.run(
            whole, env=self.environment | environment, input=given, capture_output=True, text=True, check=False,
            timeout=100,
        )  # fmt: skip

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @contextmanager
    def serving(self, *arguments: str, **environment: str) -> Iterator[str]:
        """`trainyard api` with these arguments; yields the URL that it left."""
        api = [sys.executable, "-m", "app.cli", "api", "--port", "0", "--upgrade", *arguments]
        with (self.folder / "api.log").open("ab") as log:
            process = subprocess.Popen(api, env=self.environment | environment, stdout=log, stderr=log)
        try:
            while not (self.folder / "run" / "api.json").exists():
                assert process.poll() is None, self.log()
                time.sleep(0.05)
            yield str(json.loads((self.folder / "run" / "api.json").read_text())["url"])
        finally:
            process.terminate()
            process.wait(30)

    def log(self) -> str:
        return (self.folder / "api.log").read_text()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_the_first_key_is_made_where_nothing_is_yet(home: Home) -> None:
    assert "trainyard keys create NAME" in home.run("keys", "list").stderr
    done = home.run("keys", "create", "first")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("trainyard_")
    assert done.stdout.count("\n") == 1
    assert done.stdout.strip() not in done.stderr
    (listed,) = home.json("keys", "list")
    assert (listed["name"], listed["state"], listed["scopes"]) == ("first", "live", ["read", "write"])
    assert done.stdout.strip() not in home.run("keys", "list").stdout


def test_keys_expire_are_revoked_and_are_never_shown_again(home: Home) -> None:
    made = home.json("keys", "create", "reader", "--scope", "read", "--expires-days", "30")
    assert (made["scopes"], made["expires_at"] > made["created_at"]) == (["read"], True)
    assert made["key"].startswith("trainyard_")
    ended = home.json("keys", "revoke", made["id"])
    assert (ended["state"], "key" in ended) == ("revoked", False)
    assert [key["state"] for key in home.json("keys", "list")] == ["revoked"]
    missing = home.run("keys", "revoke", "key_none")
    assert (missing.returncode, "There is no such key" in missing.stderr) == (Exit.FAILED, True)


@pytest.mark.parametrize("wrong", [["x", "--scope", "admin"], [""], ["a\nb"], ["x", "--expires-days", "0"]])
def test_what_cannot_be_meant_is_a_usage_error(home: Home, wrong: list[str]) -> None:
    assert home.run("keys", "create", *wrong).returncode == Exit.USAGE


def test_a_bind_that_others_reach_is_refused_in_one_line_until_there_is_a_live_key(home: Home) -> None:
    for _ in range(2):
        refused = home.run("api", "--host", "0.0.0.0", "--port", "0", "--upgrade")
        assert refused.returncode == Exit.USAGE
        assert refused.stderr.count("\n") == 1
        assert refused.stderr.endswith("Make one: trainyard keys create NAME\n")
        made = home.json("keys", "create", "one")
        home.json("keys", "revoke", made["id"])
    assert not (home.folder / "run" / "api.json").exists()


def test_a_worker_token_that_can_be_guessed_is_refused(home: Home) -> None:
    home.json("keys", "create", "one")
    refused = home.run("api", "--host", "0.0.0.0", "--port", "0", TRAINYARD_WORKER_TOKEN="a" * 31)
    assert refused.returncode == Exit.USAGE
    assert "TRAINYARD_WORKER_TOKEN is shorter than 32 characters" in refused.stderr
    assert "a" * 31 not in refused.stderr
    with home.serving(TRAINYARD_WORKER_TOKEN="short"):  # over loopback it may be
        assert home.run("list").returncode == 0


@pytest.mark.parametrize("everywhere", [True, False], ids=["0.0.0.0", "one address"])
def test_over_an_address_that_others_reach_every_request_needs_a_key(home: Home, everywhere: bool) -> None:
    address = own_address()
    key = home.json("keys", "create", "one")["key"]
    with home.serving("--host", "0.0.0.0" if everywhere else address) as url:
        port = url.rpartition(":")[2]
        for base in {f"http://{address}:{port}", url}:
            with httpx.Client(base_url=base, trust_env=False) as client:
                check_that_keys_are_needed(client, key)
        refused = home.run("list")
        assert (refused.returncode, "TRAINYARD_API_KEY" in refused.stderr) == (Exit.REFUSED, True)
        done = home.run("submit", "-", given=SPEC, TRAINYARD_API_KEY=key)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() in home.run("list", TRAINYARD_API_KEY=f" {key}\n").stdout
    assert key not in home.log()


def check_that_keys_are_needed(client: httpx.Client, key: str) -> None:
    near = {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "https", "Forwarded": "for=127.0.0.1"}
    assert client.get("/healthz").status_code == 200
    assert client.get("/v1/jobs").status_code == 401
    assert client.get("/v1/jobs", headers=near).status_code == 401
    assert client.get("/v1/jobs", headers={"Authorization": f"Bearer {key}"}).status_code == 200
    assert client.get("/v1/jobs", headers={"Authorization": f"Bearer {key}", "Host": "a.example"}).status_code == 400


def test_names_of_the_setting_are_served_and_keys_can_be_asked_for_on_loopback_too(home: Home) -> None:
    key = home.json("keys", "create", "one")["key"]
    settings = {"TRAINYARD_REQUIRE_KEYS": "true", "TRAINYARD_ALLOWED_HOSTS": "train.example.org"}
    with home.serving(**settings) as url, httpx.Client(base_url=url, trust_env=False) as client:
        sent = {"Host": "train.example.org"}
        assert client.get("/v1/jobs", headers=sent).status_code == 401
        assert client.get("/v1/jobs", headers=sent | {"Authorization": f"Bearer {key}"}).status_code == 200


def test_revoking_on_the_host_ends_a_key_in_the_running_service(home: Home) -> None:
    made = home.json("keys", "create", "one")
    with home.serving(TRAINYARD_REQUIRE_KEYS="1") as url, httpx.Client(base_url=url, trust_env=False) as client:
        client.headers["Authorization"] = f"Bearer {made['key']}"
        assert client.get("/v1/jobs").status_code == 200
        home.json("keys", "revoke", made["id"])
        assert client.get("/v1/jobs").status_code == 401
        fresh = home.json("keys", "create", "two")["key"]
        assert client.get("/v1/jobs", headers={"Authorization": f"Bearer {fresh}"}).status_code == 200
    assert home.json("keys", "list")[0]["last_used_at"] is not None


def test_a_key_with_odd_characters_is_not_sent_and_not_shown(home: Home) -> None:
    done = home.run("list", TRAINYARD_API_KEY="secret\nHost: evil")
    assert (done.returncode, "secret" in done.stderr) == (Exit.USAGE, False)
