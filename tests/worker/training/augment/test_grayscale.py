import numpy as np

from app.contract.augment import Grayscale
from worker.training.augment.grayscale import build
from worker.training.draws import Draw

SAMPLES = np.arange(400)


def test_the_chosen_images_lose_their_colour_and_the_others_nothing() -> None:
    (step,) = build(Grayscale(probability=0.3)).steps(Draw(0, 0, 0, SAMPLES), (4, 4))
    source = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)
    luma = source @ np.array([0.299, 0.587, 0.114])
    grey = 0
    for number in range(len(SAMPLES)):
        made = source.copy()
        step.run(number, made)
        if (made == source).all():
            continue
        grey += 1
        assert (made == made[..., :1]).all()
        assert np.abs(made[..., 0] - luma).max() <= 1
    assert abs(grey / len(SAMPLES) - 0.3) < 5 * np.sqrt(0.21 / len(SAMPLES))
