"""The generator against its published answers, and what makes it fit for images: a function of its counter alone.

tests/numerics/test_randomness.py looks for patterns between neighbours.
"""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats

from worker.training.draws import Draw, philox4x32

# Random123, tests/kat_vectors, rows "philox4x32 10": counter, key, answer.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]
SAMPLES = np.arange(20_000, dtype=np.int64)


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_the_published_answers_come_out(counter: str, key: str, answer: str) -> None:
    counters_41 = np.array(words(counter), np.uint64)[:, None]
    first, second = words(key)
    assert philox4x32(counters_41, (first, second))[:, 0].tolist() == words(answer)


def test_a_batch_of_counters_gives_each_its_own_answer() -> None:
    counters_43 = np.array([words(counter) for counter, _, _ in KNOWN_ANSWERS], np.uint64).T
    together = philox4x32(counters_43, (7, 11))
    alone = [philox4x32(counters_43[:, column : column + 1], (7, 11))[:, 0] for column in range(3)]
    np.testing.assert_array_equal(together, np.stack(alone, axis=1))


def test_a_sample_draws_the_same_in_any_order_and_batch() -> None:
    indices = np.random.default_rng(0).permutation(1_000)
    whole = Draw(5, 2, 1, np.arange(1_000)).uniforms(3)
    np.testing.assert_array_equal(Draw(5, 2, 1, indices).uniforms(3), whole[:, indices])
    parts = [Draw(5, 2, 1, part).uniforms(3) for part in np.array_split(np.arange(1_000), 7)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_threads_do_not_disturb_one_another() -> None:
    chunks = np.array_split(SAMPLES, 50)
    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda chunk: Draw(1, 0, 0, chunk).uniform(-1, 1), chunks))
    np.testing.assert_array_equal(np.concatenate(parts), Draw(1, 0, 0, SAMPLES).uniform(-1, 1))


def test_seed_epoch_position_sample_and_number_of_the_draw_each_change_everything() -> None:
    first = Draw(1, 2, 3, SAMPLES)
    original, next_draw = first.uniform(0, 1), first.uniform(0, 1)
    others = [next_draw, *(Draw(*key, SAMPLES).uniform(0, 1) for key in [(2, 2, 3), (1, 3, 3), (1, 2, 4)])]
    others += [Draw(1 + 2**32, 2, 3, SAMPLES).uniform(0, 1), Draw(1, 2, 3, SAMPLES + 1).uniform(0, 1)]
    for other in others:
        assert not (other == original).any()
        assert abs(correlation(original, other)) < 5 / np.sqrt(len(SAMPLES))


def test_values_fill_the_interval_evenly_and_never_reach_its_end() -> None:
    values = Draw(0, 0, 0, SAMPLES).uniforms(4)
    assert values.min() >= 0
    assert values.max() < 1
    counts = np.histogram(values, bins=100, range=(0, 1))[0]
    expected = values.size / 100
    assert ((counts - expected) ** 2 / expected).sum() < 99 + 5 * np.sqrt(2 * 99)  # chi-squared, 5 sigma


def test_chances_are_kept_and_certain_at_both_ends() -> None:
    assert not Draw(0, 0, 0, SAMPLES).chance(0).any()
    assert Draw(0, 0, 0, SAMPLES).chance(1).all()
    assert abs(Draw(0, 0, 0, SAMPLES).chance(0.3).mean() - 0.3) < 5 * np.sqrt(0.21 / len(SAMPLES))


@pytest.mark.parametrize("alpha", [0.01, 0.2, 0.5, 1.0, 3.0, 100.0])
def test_symmetric_betas_are_distributed_as_their_name_says(alpha: float) -> None:
    values = Draw(0, 0, 0, SAMPLES).symmetric_beta(alpha)
    assert values.min() >= 0
    assert values.max() <= 1
    grid = np.linspace(0.001, 0.999, 999)  # most of Beta(0.01, 0.01) lies nearer to 0 and 1 than a double can tell
    found = np.searchsorted(np.sort(values), grid, side="right") / len(SAMPLES)
    distance = np.abs(found - scipy.stats.beta(alpha, alpha).cdf(grid)).max()
    assert distance < 2.5 / np.sqrt(len(SAMPLES))  # Kolmogorov: exceeded once in 130,000
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(values.mean() - 0.5) < 5 * np.sqrt(variance / len(SAMPLES))


def test_symmetric_betas_exist_for_the_extreme_uniforms() -> None:
    for uniform, turn in itertools.product((0.0, 2.0**-53, 0.5, 1 - 2.0**-53), (0.0, 0.25, 0.5, 0.75, 1 - 2.0**-53)):
        draw = Draw(0, 0, 0, np.arange(1))
        draw.uniforms = lambda _count, pair=(uniform, turn): np.array(pair)[:, None]  # type: ignore[method-assign]
        for alpha in (0.01, 0.2, 1.0, 100.0):
            assert 0 <= draw.symmetric_beta(alpha)[0] <= 1


def correlation(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    return float(np.corrcoef(first, second)[0, 1])
