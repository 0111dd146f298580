"""Contenders run in turn: what disturbs the machine then disturbs all alike, and ratios hold."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.pipelines import BATCH, SIZE

ROOT = Path(__file__).parents[2]

TICK_S = 0.01
"""The kernel counts CPU time in steps of this."""


@dataclass
class Contender:
    """A program that makes batches, alive."""

    name: str
    process: "subprocess.Popen[str]"
    rounds: list[dict[str, Any]] = field(default_factory=list)
    images: int = 2 * BATCH
    """Of the next round."""

    def measure(self) -> dict[str, Any]:
        """One more round. CPU time is that of the process and its children, also of those that have ended."""
        before_s = self._cpu_s()
        assert self.process.stdin
        assert self.process.stdout
        with suppress(BrokenPipeError):
            self.process.stdin.write(f"{self.images}\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"benchmarks: {self.name} ended; its last words are above")
        made: dict[str, Any] = json.loads(line)
        _check(self, made)
        made["cpu_s"] = max(self._cpu_s() - before_s, TICK_S)
        self.rounds.append(made)
        return made

    def warm_up(self, seconds: float) -> None:
        """Two rounds that are not counted: one to start everything, one to see how many images `seconds` are."""
        self.measure()
        made = self.measure()
        self.images = max(BATCH, round(made["images"] * seconds / made["seconds"] / BATCH) * BATCH)
        self.rounds.clear()

    def result(self) -> dict[str, Any]:
        """Medians over the rounds."""
        rates = [made["images"] / made["seconds"] for made in self.rounds]
        return {
            "images_per_s": rounded(statistics.median(rates)),
            "lowest": rounded(min(rates)),
            "highest": rounded(max(rates)),
            "images_per_cpu_s": rounded(statistics.median(made["images"] / made["cpu_s"] for made in self.rounds)),
            "images_a_round": self.images,
            "rounds": len(self.rounds),
        }

    def _cpu_s(self) -> float:
        process, total = psutil.Process(self.process.pid), 0.0
        for each in [process, *process.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                times = each.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        return total


def interleaved(contenders: Sequence[Contender], rounds: int, seconds: float) -> dict[str, dict[str, Any]]:
    """Each contender once a round; the results by name. `seconds`: about how long each works in a round."""
    for each in contenders:
        each.warm_up(seconds)
    return _turns(contenders, rounds)


def _turns(contenders: Sequence[Contender], rounds: int) -> dict[str, dict[str, Any]]:
    for number in range(rounds):
        for each in contenders if number % 2 == 0 else reversed(contenders):
            each.measure()
    for each in contenders:
        print(f"  {each.name:<42} {_line(each.result())}", flush=True)
    return {each.name: each.result() for each in contenders}


def whole_sets(contenders: Sequence[Contender], rounds: int, images: int) -> dict[str, dict[str, Any]]:
    """Like `interleaved`, each round over as many images as the set has."""
    for each in contenders:
        each.images = images
        each.measure()
        each.rounds.clear()
    return _turns(contenders, rounds)


def ratios(ours: str, contenders: Sequence[Contender]) -> dict[str, float]:
    """How many times as fast ours is as each other: the median over the rounds, each with itself."""
    own = next(each for each in contenders if each.name == ours)
    return {
        each.name: rounded(
            statistics.median(_rate(mine) / _rate(theirs) for mine, theirs in zip(own.rounds, each.rounds, strict=True))
        )
        for each in contenders
        if each is not own
    }


@contextmanager
def contenders(commands: dict[str, list[str]]) -> Iterator[list[Contender]]:
    """Start them all; end them all."""
    with ExitStack() as stack:
        yield [stack.enter_context(_alive(name, command)) for name, command in commands.items()]


def ours(module: str, *arguments: str) -> list[str]:
    """The command of a contender in the service's environment."""
    return [sys.executable, "-m", f"benchmarks.pipelines.{module}", *arguments]


def peer(python: Path, module: str, *arguments: str) -> list[str]:
    """The command of a contender in the environment of the peers."""
    return [str(python.absolute()), "-m", f"benchmarks.pipelines.{module}", *arguments]


def rounded(value: float) -> float:
    """Three digits: the fourth is noise."""
    return float(f"{value:.3g}")


@contextmanager
def _alive(name: str, command: list[str]) -> Iterator[Contender]:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT, env=environment) as process:
        try:
            yield Contender(name, process)
        finally:
            assert process.stdin
            with suppress(BrokenPipeError):
                process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()


def _rate(made: dict[str, Any]) -> float:
    return float(made["images"] / made["seconds"])


def _check(who: Contender, made: dict[str, Any]) -> None:
    """A rate of something else is worth nothing: right number, shape and type, and the values that photographs give."""
    is_right = made["images"] == who.images and made["shape"] == [3, SIZE, SIZE] and made["dtype"] == "torch.float32"
    if not is_right or abs(made["mean"]) > 1.5 or not 0.5 < made["std"] < 2:
        raise SystemExit(f"benchmarks: {who.name} made something else: {made}")


def _line(result: dict[str, Any]) -> str:
    return f"{result['images_per_s']:>8,.0f} images/s  {result['images_per_cpu_s']:>8,.0f} a CPU second"
