"""The diagram that people read is the table that the code obeys."""

import re
from pathlib import Path

from app.contract.failures import FailureCode
from app.contract.states import FINAL, NEXT, JobState

DOCUMENT = (Path(__file__).parents[2] / "docs/job_lifecycle.md").read_text("utf-8")


def test_the_diagram_shows_exactly_the_transitions_of_the_table() -> None:
    arrows = re.findall(r"^    (\S+) --> (\S+)$", DOCUMENT, re.MULTILINE)
    drawn = {(source, target) for source, target in arrows if "[*]" not in (source, target)}
    assert drawn == {(source.value, target.value) for source in NEXT for target in NEXT[source]}
    assert {source for source, target in arrows if target == "[*]"} == {state.value for state in FINAL}


def test_every_state_says_what_it_means_and_who_moves_it_on() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|$", DOCUMENT, re.MULTILINE)
    assert {state for state, _, _ in rows} == {state.value for state in JobState}


def test_the_codes_it_speaks_of_exist() -> None:
    spoken = set(re.findall(r"`([a-z]+_[a-z_]+)`", DOCUMENT))
    assert {"bad_spec", "lost_worker", "crash_loop"} <= spoken & {code.value for code in FailureCode}
