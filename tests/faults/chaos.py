"""What a random run does to a service: one blow at a time, each by its name and a number from the seed."""

import json
import os
import random
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from app.cli.processes import identify
from tests.e2e.place import Place
from worker import records

WORKER = "soak"
LONGEST_PAUSE_S = 15.0  # one lease and a half


class Chaos:
    """Strikes at processes of one place. `blows` counts what hit something, by name."""

    def __init__(self, place: Place, dice: random.Random) -> None:
        self._place = place
        self._dice = dice
        self._run_dir = place.home / "run"
        self._frozen: list[tuple[float, int]] = []
        self.blows: Counter[str] = Counter()
        self._choices: dict[str, Callable[[], bool]] = {
            "kill worker": lambda: self._kill(self._child("worker")),
            "kill api": lambda: self._kill(self._child("api")),
            "kill broker": lambda: self._kill(self._child("broker")),
            "kill supervisor": lambda: self._kill(self._supervisor()),
            "kill run": lambda: self._kill(self._run()),
            "kill serve": self._kill_serve,
            "freeze api": lambda: self._freeze(self._child("api")),
            "freeze worker": lambda: self._freeze(self._child("worker")),
            "freeze supervisor": lambda: self._freeze(self._supervisor()),
            "freeze run": lambda: self._freeze(self._run()),
            "wipe broker": self._wipe,
        }

    def strike(self) -> None:
        """Once, at something that is there."""
        name = self._dice.choice(list(self._choices))
        if self._choices[name]():
            self.blows[name] += 1

    def thaw(self, *, all_of_them: bool = False) -> None:
        """Let those go on whose time is over."""
        now = time.monotonic()
        for due in [each for each in self._frozen if all_of_them or each[0] < now]:
            self._frozen.remove(due)
            _signal(due[1], signal.SIGCONT)

    def _kill(self, pid: int | None) -> bool:
        return pid is not None and _signal(pid, signal.SIGKILL)

    def _freeze(self, pid: int | None) -> bool:
        if pid is None or not _signal(pid, signal.SIGSTOP):
            return False
        self._frozen.append((time.monotonic() + self._dice.uniform(0.5, LONGEST_PAUSE_S), pid))
        return True

    def _kill_serve(self) -> bool:
        self.thaw(all_of_them=True)  # the next one waits for the end of what it replaces
        self._place.stop(signal.SIGKILL)
        self._place.start()
        return True

    def _wipe(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(2)
                connection.connect(str(self._run_dir / "broker.sock"))
                connection.sendall(b"FLUSHALL\r\n")
                return connection.recv(100).startswith(b"+OK")
        except OSError:
            return False

    def _child(self, name: str) -> int | None:
        try:
            return int(json.loads((self._run_dir / f"{name}.pid").read_text())["pid"])
        except (OSError, ValueError):
            return None

    def _supervisor(self) -> int | None:
        found = [each.supervisor.pid for each in self._records() if each.supervisor]
        return self._dice.choice(found) if found else None

    def _run(self) -> int | None:
        found = [each.launcher.pid for each in self._records() if each.launcher]
        return self._dice.choice(found) if found else None

    def _records(self) -> list[records.Record]:
        paths = sorted((self._run_dir / "attempts").glob("*.json"))
        found = [records.read(path) for path in paths]
        return [each for each in found if each and each.worker == WORKER]


def leftovers(home: Path) -> dict[int, str]:
    """Runs and supervisors of this home that live, by their command lines."""
    found = {}
    for folder in Path("/proc").iterdir():
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (OSError, ValueError):
            continue
        if folder.name.isdigit() and str(home) in line and ("stand_in" in line or "worker." in line):
            found[int(folder.name)] = line
    return found


def _signal(pid: int, number: signal.Signals) -> bool:
    if identify(pid) is None:
        return False
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
