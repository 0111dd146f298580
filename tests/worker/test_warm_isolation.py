"""A run that is forked from a warm parent finds what one finds that begins as a fresh interpreter, and nothing else."""

import contextlib
import json
import os
import resource
import signal
import socket
import traceback
from pathlib import Path

import pytest

from tests.worker.conftest import Supervisor
from tests.worker.warm_parents import address
from worker.warm import messages

UNUSUAL = {"OMP_NUM_THREADS": "3", "LC_TIME": "C"}


class Unusual(Supervisor):
    """A supervisor that has everything otherwise than its worker, so that it must be handed on."""

    def begin(self):
        def become():
            os.umask(0o027)
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
            os.setpriority(os.PRIO_PROCESS, 0, 7)
            Path("/proc/self/oom_score_adj").write_text("321")
            resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})

        super().begin(preexec_fn=become, cwd=self.environment["TRAINYARD_HOME"])


def _looked(supervisor):
    assert supervisor.wait() == 0
    text = (supervisor.run_dir / "look.json").read_text()
    return json.loads(text.replace(str(supervisor.run_dir), "RUN"))


@pytest.fixture
def neighbours(home, keep, started):
    """A warm parent that has other things open: a connection of a client that says nothing, and another run."""
    keep(**UNUSUAL)
    silent = messages.connect(address(home), 10.0)
    other = started("until_told", attempt=9)
    other.began()
    yield
    silent.close()
    (other.run_dir / "go").touch()
    assert other.wait() == 0


@pytest.mark.parametrize("kind", [Supervisor, Unusual])
@pytest.mark.usefixtures("neighbours")
def test_a_warm_run_finds_what_a_cold_one_finds(started, kind, capfd):
    cold = _looked(started("look", "cold", attempt=1, kind=kind))
    assert "started the run cold" in capfd.readouterr().err

    warm = _looked(started("look", "warm", attempt=2, kind=kind))

    assert "started the run warm" in capfd.readouterr().err
    own = ["RUN/events.jsonl", "RUN/logs/launcher.log", "RUN/logs/launcher.log", "gone"]  # the last: the list itself
    assert sorted(cold["files"].values()) == ["/dev/null", *own]
    assert warm == cold
    assert warm["environment"]["OMP_NUM_THREADS"] == "3"
    if kind is Unusual:
        assert "Umask:\t0027" in warm["status"]
        assert (warm["niceness"], warm["oom score"].strip()) == (7, "321")
        assert warm["limits"]["RLIMIT_NOFILE"] == [200, 300]
        assert warm["signals"]["SIGHUP"] == "<Handlers.SIG_IGN: 1>"


def test_random_numbers_are_drawn_anew(keep, started):
    keep()
    runs = [started("look", attempt=number) for number in (1, 2)]

    assert all(each.wait() == 0 for each in runs)

    first, second = ((each.run_dir / "drawn").read_text() for each in runs)
    assert first != second


def test_what_one_run_sets_no_other_finds(keep, started, monkeypatch):
    keep()
    first = _looked(started("look", attempt=1, work={"traceparent": "00-aa-bb-01"}))

    second = _looked(started("look", attempt=2, work={"traceparent": None}))

    assert first["environment"]["TRACEPARENT"] == "00-aa-bb-01"
    assert "TRACEPARENT" not in second["environment"]
    assert not [each for each in second["environment in C"] if each.startswith("TRACEPARENT")]


def test_secrets_of_worker_and_supervisor_stay_outside(keep, started):
    pid = keep(TRAINYARD_DATABASE_URL="a secret")

    found = _looked(started("look"))

    assert "a secret" not in json.dumps(found)
    assert "a secret" not in Path(f"/proc/{pid}/environ").read_text()


def test_a_run_with_another_environment_for_libraries_starts_cold(keep, started, capfd):
    keep()

    found = _looked(started("look", OMP_NUM_THREADS="7"))

    assert found["environment"]["OMP_NUM_THREADS"] == "7"
    assert "the run starts cold: it was loaded with another OMP_NUM_THREADS" in capfd.readouterr().err


def test_the_socket_is_for_its_user_alone(home, keep):
    keep()

    assert address(home).stat().st_mode & 0o777 == 0o600
    assert address(home).parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_users_process_is_refused(home, keep):
    keep()
    folder = address(home).parent
    folder.chmod(0o711)  # even if somebody opened the folder and the socket to all
    address(home).chmod(0o666)

    pid = os.fork()
    if pid == 0:
        os._exit(_refused_as_nobody(folder, address(home).name))

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _refused_as_nobody(folder, name):
    """In a process of its own: 0 when the parent closes the connection unanswered."""
    try:
        os.chdir(folder)
        os.setuid(65534)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.settimeout(60)
            connection.connect(name)
            with contextlib.suppress(BrokenPipeError):
                connection.send(messages.PING)
            return len(connection.recv(16))
    except ConnectionResetError:
        return 0
    except OSError:
        traceback.print_exc()
        return 77
