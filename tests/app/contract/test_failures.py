"""Failure codes: each has consequences, and the message keeps its telling end."""

from app.contract.failures import POLICY, FailureCode, failure


def test_every_code_has_a_policy_with_a_hint() -> None:
    assert set(POLICY) == set(FailureCode)
    assert all(policy.hint for policy in POLICY.values())


def test_what_the_service_starts_again_by_itself_a_person_may_retry_too() -> None:
    assert all(policy.retryable for policy in POLICY.values() if policy.requeue)


def test_a_spec_that_cannot_work_is_not_tried_again() -> None:
    for code in (
        FailureCode.BAD_SPEC,
        FailureCode.BAD_DATASET,
        FailureCode.DIVERGED,
        FailureCode.OUT_OF_MEMORY,
    ):
        assert not POLICY[code].requeue


def test_a_long_message_keeps_its_end() -> None:
    made = failure(FailureCode.INTERNAL, "x" * 5000 + "the cause", attempt=2)
    assert len(made.message) == 4000
    assert made.message.endswith("the cause")
    assert made.attempt == 2
