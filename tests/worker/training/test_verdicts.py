"""What epochs' validations decide: the best one, and when it is enough."""

import math
from typing import Any

import pytest

from app.contract.job import JobSpec
from worker.training.checkpoint import Position
from worker.training.evaluation import Score
from worker.training.verdicts import Verdicts


def judged(
    scores: list[tuple[float, float]], compression: list[dict[str, Any]] | None = None, **training: Any
) -> tuple[list[int], Position]:
    """The epochs, from 1, that were the best when they were over, and where training ended. Scores: loss, accuracy."""
    body = {"dataset": {"kind": "builtin", "name": "digits"}, "model": {"kind": "timm", "name": "test_resnet"}}
    spec = JobSpec.model_validate(body | {"training": training, "compression": compression or []})
    verdicts, position, best = Verdicts.of(spec, "training"), Position("training"), []
    for loss, accuracy in scores:
        assert not verdicts.is_over(position)
        position.epoch += 1
        if verdicts.judge(position, Score(loss, accuracy)):
            best.append(position.epoch)
        if position.stopped_early:
            break
    return best, position


RISING = [(1.0, 0.3), (0.8, 0.5), (0.9, 0.5), (0.7, 0.4), (1.1, 0.45), (0.6, 0.9)]


def test_the_best_epoch_is_the_first_of_equals_by_what_was_asked_for() -> None:
    best, position = judged(RISING, epochs=6, export_best="val/accuracy")
    assert (best, position.best_epoch, position.best) == ([1, 2, 6], 6, 0.9)
    best, position = judged(RISING[:5], epochs=6, export_best="val/loss")
    assert (best, position.best_epoch) == ([1, 2, 4], 4)


def test_training_ends_when_patience_does() -> None:
    stop = {"metric": "val/accuracy", "patience": 3}
    assert judged(RISING, epochs=10, early_stopping=stop)[1] == Position(
        "training", epoch=5, best=0.5, best_epoch=2, bar=0.5, waited=3, stopped_early=True
    )
    _, position = judged(RISING, epochs=10, early_stopping={"metric": "val/loss", "patience": 3})
    assert not position.stopped_early


def test_less_than_the_least_progress_is_none_even_when_it_adds_up() -> None:
    creeping = [(1.0, 0.50), (1.0, 0.51), (1.0, 0.52), (1.0, 0.53)]
    _, position = judged(creeping, epochs=10, early_stopping={"patience": 2, "min_delta": 0.025})
    assert (position.epoch, position.stopped_early) == (3, True)
    assert position.best_epoch == 3, "what is best does not ask how much better"
    _, position = judged(creeping, epochs=10, early_stopping={"patience": 2})
    assert not position.stopped_early


def test_the_last_planned_epoch_is_no_early_end() -> None:
    _, position = judged([(1.0, 0.5)] * 4, epochs=4, early_stopping={"patience": 2})
    assert (position.epoch, position.stopped_early) == (3, True)
    spec = {"epochs": 4, "early_stopping": {"patience": 2}}
    _, position = judged([(1.0, 0.5), (1.0, 0.6), (1.0, 0.6), (1.0, 0.6)], **spec)
    assert (position.epoch, position.waited, position.stopped_early) == (4, 2, False)


def test_a_score_that_is_no_number_is_never_better_and_never_the_last_word() -> None:
    scores = [(math.nan, 0.1), (0.9, 0.2), (math.nan, 0.2), (0.8, 0.2)]
    best, position = judged(scores, epochs=6, export_best="val/loss", early_stopping={"metric": "val/loss"} | PATIENT)
    assert (best, position.best_epoch, position.waited) == ([1, 2, 4], 4, 0)


PATIENT = {"patience": 4}


@pytest.mark.parametrize(
    ("method", "first"),
    [
        ({"kind": "channel_pruning", "steps": 2, "until": 0.5}, 5),
        ({"kind": "quantization", "mode": "qat", "start": 0.31}, 4),
        ({"kind": "quantization"}, 0),
        ({"kind": "channel_pruning"}, 0),
    ],
)
def test_only_epochs_of_the_network_as_it_will_be_are_compared(method: dict[str, Any], first: int) -> None:
    """A float or wide network's accuracy says nothing about the one that ships."""
    falling = [(1.0, 1 - 0.05 * epoch) for epoch in range(10)]
    best, position = judged(falling, [method], epochs=10, export_best="val/accuracy", early_stopping={"patience": 2})
    assert best == [first + 1]
    assert position.epoch == first + 3
