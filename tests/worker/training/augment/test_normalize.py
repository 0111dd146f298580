from app.contract.augment import Normalize
from app.contract.job import JobSpec
from worker.training import augment
from worker.training.augment import Normalizing
from worker.training.augment.normalize import build


def test_given_values_are_kept_and_missing_ones_are_left_to_a_fit() -> None:
    assert build(Normalize(mean=(0.5,), std=(0.2,))) == Normalizing((0.5,), (0.2,))
    assert build(Normalize()) == Normalizing(None, None)


def test_a_spec_that_says_nothing_is_normalised_to_its_data() -> None:
    assert augment.compile(JobSpec.model_validate(JobSpec.examples[0])).normalizing == Normalizing(None, None)
