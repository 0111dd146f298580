"""A staircase: the rate falls by a factor every few epochs."""

from app.contract.training import Step
from worker.training.optim import Length, Schedule


def build(spec: Step, length: Length) -> Schedule:
    """`factor` to the power of the stairs gone down; the first begins where the warm-up ends."""
    stair = spec.every_epochs * length.steps_per_epoch
    return lambda step: spec.factor ** (step // stair)
