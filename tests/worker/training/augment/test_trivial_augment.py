import numpy as np

from app.contract.augment import TrivialAugment
from worker.training import geometry
from worker.training.augment.trivial_augment import build
from worker.training.draws import Draw

SAMPLES = np.arange(2_800)
SIZE = (24, 24)


def test_each_image_is_moved_or_recoloured_but_never_both() -> None:
    geometric, photometric = build(TrivialAugment())
    matrices = geometric.matrices(Draw(0, 0, 0, SAMPLES), geometry.repeat(SIZE, len(SAMPLES)))
    steps = photometric.steps(Draw(0, 0, 0, SAMPLES), SIZE)
    source = np.random.default_rng(0).integers(0, 200, (*SIZE, 3), np.uint8)
    moved = ~np.isclose(matrices, np.eye(3)).all(axis=(1, 2))
    for number in SAMPLES:
        made = source.copy()
        for step in steps:
            step.run(number, made)
        assert not (moved[number] and (made != source).any())
    # five of fourteen move, and of the 31 levels one does nothing
    assert abs(moved.mean() - 5 / 14 * 30 / 31) < 5 * np.sqrt(0.25 / len(SAMPLES))
