"""Programs of a test as real processes, which leave nothing behind however the test ends."""

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

STOP_S = 120.0  # on a loaded machine; a program that does not end at all is what this is for


class Program:
    """One command that can be started again. Its environment is exactly what it is given."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], folder: Path, name: str) -> None:
        self.command = list(command)
        self.environment = environment
        self._folder = folder
        self._log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; its output goes to a log."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command, env=self.environment, cwd=self._folder, stdout=log, stderr=log, start_new_session=True
            )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal it and wait for its end; its exit code."""
        assert self._process
        self._process.send_signal(number)
        return self._process.wait(STOP_S)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Another command in the same surroundings, to its end."""
        return subprocess.run(
            command, env=self.environment, cwd=self._folder, capture_output=True, text=True, check=False, timeout=STOP_S
        )

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def output(self) -> str:
        """All that it printed."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def kill(self) -> None:
        """SIGKILL; nothing happens when it has ended."""
        if self._process:
            self._process.kill()
            self._process.wait()


def kill_all_of(folder: Path) -> None:
    """SIGKILL to every process whose command line or environment names the folder."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid() and _names(entry, str(folder).encode()):
            try:
                os.kill(int(entry.name), signal.SIGKILL)
            except ProcessLookupError:
                continue


def _names(entry: Path, needle: bytes) -> bool:
    try:
        return needle in (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
    except OSError:
        return False
