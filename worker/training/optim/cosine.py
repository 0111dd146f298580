"""Half a cosine (arXiv 1608.03983, without restarts)."""

import math

from app.contract.training import Cosine
from worker.training.optim import Length, Schedule


def build(spec: Cosine, length: Length) -> Schedule:
    """From 1 at the first step down to just above `final_fraction` at the last: the last step still learns."""

    def factor(step: float) -> float:
        falling = 0.5 * (1 + math.cos(math.pi * min(step / length.steps, 1.0)))
        return spec.final_fraction + (1 - spec.final_fraction) * falling

    return factor
