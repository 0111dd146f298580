"""The state table: closed, connected, and final where it ends."""

from app.contract.states import ACTIVE, FINAL, NEXT, JobState, before


def test_every_state_has_its_row() -> None:
    assert set(NEXT) == set(JobState)


def test_final_states_are_the_three_that_users_wait_for() -> None:
    assert {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED} == FINAL


def test_before_is_the_table_read_backwards() -> None:
    for state in JobState:
        assert before(state) == {source for source in JobState if state in NEXT[source]}


def test_every_state_that_is_not_final_can_be_cancelled() -> None:
    assert before(JobState.CANCELLED) == set(JobState) - FINAL


def test_every_state_can_be_reached_from_queued() -> None:
    reached, new = set(), {JobState.QUEUED}
    while new:
        reached |= new
        new = {following for state in new for following in NEXT[state]} - reached
    assert reached == set(JobState)


def test_success_needs_a_run() -> None:
    assert before(JobState.SUCCEEDED) == {JobState.RUNNING}
    assert before(JobState.RUNNING) == {JobState.STARTING}
    assert {JobState.STARTING, JobState.RUNNING} == ACTIVE
