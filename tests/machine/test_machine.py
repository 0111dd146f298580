"""Any order of what users, workers, upkeep and restarts can do leaves the database in a state that makes sense."""

import logging
import os
import random
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.machine.replica import Replica
from tests.machine.rules import Machine

STEPS = 50
QUICK = settings(
    max_examples=8,
    stateful_step_count=STEPS,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate, Phase.shrink),
)
"""Some hundred steps. Every run is another one: `TRAINYARD_TEST_SEED` repeats the one that a failure names."""

LONG = settings(QUICK, max_examples=280)
"""10,000 steps: an example has 41 on average."""

MORE = settings(QUICK, max_examples=35)
"""What is rare is missed by one such run in five: then it goes on, a little at a time."""

MET = (
    "claims 200", "claims 204", "start 204", "start 410", "heartbeat 200", "heartbeat 410", "reports 200",
    "reports 409", "reports 410", "finish 200", "finish 410", "cancel 200", "cancel 202", "cancel 409", "cancel 404",
    "jobs 201", "jobs 422", "retry 201", "retry 409", "clone 201", "PATCH 200", "DELETE 204", "DELETE 409", "lost",
    "pause 200", "pause 202", "pause 409", "resume 200", "resume 409",
)  # fmt: skip
"""A long run that never met one of these would prove little. (To resume what still saves, 202, is too rare to be
asked for: tests/app/routes/test_job_actions.py has it.)"""


@pytest.fixture
def machine(database):
    """The machine over this database, with a seed that a failing test shows."""
    number = int(os.environ.get("TRAINYARD_TEST_SEED") or random.SystemRandom().randrange(2**32))
    print(f"repeat this run with TRAINYARD_TEST_SEED={number}")
    loud = logging.getLogger("trainyard.requests")
    before = loud.level
    loud.setLevel(logging.WARNING)  # a line a request would bury the failing example
    given = {
        "database": database,
        "settings": database.settings,
        "steps": 0,
        "tally": Counter(),
        "replica": Replica(database.settings),
        "number": number,
    }
    made = seed(number)(type("Machine", (Machine,), given))
    yield made
    made.replica.close()
    loud.setLevel(before)


@pytest.mark.timeout(600)  # a failing example is made short before it is shown
def test_any_order_of_calls_leaves_sense_behind(machine):
    run_state_machine_as_test(machine, settings=QUICK)
    assert machine.steps >= 200


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_any_order_of_calls_leaves_sense_behind_for_10_000_steps(machine):
    for number, more in enumerate((LONG, *[MORE] * 8), machine.number):
        run_state_machine_as_test(seed(number)(machine), settings=more)
        if machine.steps >= 10_000 and not _never_met(machine):
            break
    print(machine.steps, "steps:", sorted(machine.tally.items()))
    assert machine.steps >= 10_000
    assert _never_met(machine) == []


def _never_met(machine):
    return [each for each in MET if not machine.tally[each]]
