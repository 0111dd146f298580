"""Accuracies of finished networks: how sure they are, and class by class."""

import numpy as np
import pytest

from app.contract.report import MOST_CLASSES
from worker.training.scores import Score, class_changes, wilson


@pytest.mark.parametrize(
    ("right", "images", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (500, 1000, 0.4691, 0.5309)],
)
def test_the_interval_is_wilsons(right, images, low, high):
    """Of Brown, Cai, DasGupta (2001) and of R's prop.test without correction."""
    assert wilson(right, images) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    for truth in (0.1, 0.5, 0.97):
        held = [
            low <= truth <= high for low, high in (wilson(int(each), 359) for each in rng.binomial(359, truth, 2000))
        ]
        assert 0.93 < np.mean(held) < 0.97


def score(right, images):
    return Score(np.array(right), np.array(images))


def test_classes_are_told_of_in_order_and_those_without_images_not():
    before, after = score([5, 0, 3], [10, 0, 4]), score([4, 0, 4], [10, 0, 4])
    changes = class_changes(("a", "b", "c"), before, after)
    assert [(each.name, each.images, each.before, each.after) for each in changes] == [
        ("a", 10, 0.5, 0.4),
        ("c", 4, 0.75, 1.0),
    ]
    assert [each.before for each in class_changes(("a", "b", "c"), None, after)] == [None, None]
    assert after.accuracy == 8 / 14


def test_of_very_many_classes_those_that_lost_most_are_told_of():
    count = MOST_CLASSES + 50
    before = score([10] * count, [10] * count)
    after = score([10] * 50 + [5] * MOST_CLASSES, [10] * count)
    changes = class_changes([str(index) for index in range(count)], before, after)
    assert [each.name for each in changes] == [str(index) for index in range(50, count)]
