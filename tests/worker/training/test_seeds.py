import json
import random

import numpy as np
import torch

from worker.training import seeds

CPU = torch.device("cpu")


def draw() -> tuple[float, float, float]:
    return torch.rand(()).item(), float(np.random.normal()), random.gauss(0, 1)


def test_a_saved_state_goes_on_with_the_same_numbers_after_json() -> None:
    seeds.seed_all(5, "training", 1)
    draw()  # leaves half a pair of normal numbers behind
    saved = json.loads(json.dumps(seeds.state(CPU)))
    expected = [draw() for _ in range(3)]
    seeds.seed_all(6)
    seeds.restore(saved, CPU)
    assert [draw() for _ in range(3)] == expected


def test_ranks_phases_and_seeds_draw_different_numbers() -> None:
    drawn = set()
    for parts in [(0, "training", 0), (0, "training", 1), (0, "baseline", 0), (1, "training", 0)]:
        seeds.seed_all(*parts)
        drawn.add(draw())
    assert len(drawn) == 4
