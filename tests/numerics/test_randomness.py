"""No pattern between what neighbours draw, along any axis: seed, epoch, place in the list, sample, number of the draw.

One test of independence is shown what the generator draws, and then bad mixers, which it must all refuse: the generator
itself with too few rounds, and what people write instead. A p-value is the chance of a statistic as extreme as the one
found if all values were independent and uniform; the numbers are fixed, so nothing here is left to chance.
"""

from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from worker.training import draws
from worker.training.draws import Draw

pytestmark = pytest.mark.timeout(600)

Values = npt.NDArray[np.float64]
Mix = Callable[[int, int, int, npt.NDArray[np.int64]], Values]
"""(seed, epoch, position, indices_N) to 4 draws x N values in [0, 1)."""

AXES = ("seed", "epoch", "position", "draw", "sample")
COUNTS = (4, 5, 4, 4, 400)  # 128,000 values
REFUSED = 1e-9
"""152 statistics are looked at: the least of so many is below this once in six million generators."""


def grid(mix: Mix) -> Values:
    """Of all axes, in their order."""
    seeds, epochs, positions, _, samples = COUNTS
    indices = np.arange(samples)
    by_seed = [[[mix(seed, epoch, place, indices) for place in range(positions)] for epoch in range(epochs)] for seed in range(seeds)]  # fmt: skip  # noqa: E501
    return np.array(by_seed)


def neighbours(values: Values) -> Iterator[tuple[str, Values, Values]]:
    """All pairs that lie one step apart along one axis, or along two, the same way and the opposite way."""
    for axis, name in enumerate(AXES):
        yield name, *_apart(values, {axis: 1})
    for one, other in combinations(range(len(AXES)), 2):
        for step in (1, -1):
            yield f"{AXES[one]}, {step:+} {AXES[other]}", *_apart(values, {one: 1, other: step})


def _apart(values: Values, steps: dict[int, int]) -> tuple[Values, Values]:
    ahead, behind = [slice(None)] * values.ndim, [slice(None)] * values.ndim
    for axis, step in steps.items():
        ahead[axis], behind[axis] = (slice(1, None), slice(-1)) if step > 0 else (slice(-1), slice(1, None))
    return values[tuple(behind)].ravel(), values[tuple(ahead)].ravel()


def evenness(cells: npt.NDArray[np.int64], count: int) -> float:
    """The p-value of chi-squared, on either side: too even is no chance either."""
    found = np.bincount(cells, minlength=count)
    above = stats.chi2.sf(((found - cells.size / count) ** 2).sum() / (cells.size / count), count - 1)
    return float(2 * min(above, 1 - above))


def p_values(values: Values) -> Iterator[tuple[str, float]]:
    """What speaks for independent uniform values, statistic by statistic."""
    yield "uniform, by Kolmogorov and Smirnov", float(stats.kstest(values.ravel(), "uniform").pvalue)
    yield "uniform, by chi-squared", evenness((values.ravel() * 256).astype(np.int64), 256)
    for name, first, second in neighbours(values):
        yield f"equal: {name}", float(stats.binom.sf((first == second).sum() - 1, first.size, 1e-9))
        for kind, one, other in (("correlated", first, second), ("correlated in distance", np.abs(first - 0.5), np.abs(second - 0.5))):  # fmt: skip  # noqa: E501
            r = float(np.corrcoef(one, other)[0, 1]) if one.std() and other.std() else 1.0
            yield f"{kind}: {name}", float(2 * stats.norm.sf(abs(r) * np.sqrt(first.size)))
        yield f"pairs: {name}", evenness((first * 16).astype(np.int64) * 16 + (second * 16).astype(np.int64), 256)
        for kind, combined in (("sums", (first + second) % 1), ("differences", (first - second) % 1)):
            yield f"{kind}: {name}", evenness(np.minimum((combined * 128).astype(np.int64), 127), 128)


def patterns(mix: Mix) -> list[str]:
    """The statistics that independent values do not have."""
    return [f"{name}: p = {p:.1e}" for name, p in p_values(grid(mix)) if p < REFUSED]


def drawn(seed: int, epoch: int, position: int, indices_N: npt.NDArray[np.int64]) -> Values:
    return Draw(seed, epoch, position, indices_N).uniforms(4)


def test_neighbours_along_every_axis_are_independent_and_values_uniform() -> None:
    assert patterns(drawn) == []


def test_far_along_every_axis_nothing_changes() -> None:
    """The ends of what a counter can hold, where words carry into nothing."""

    def far(seed: int, epoch: int, position: int, indices_N: npt.NDArray[np.int64]) -> Values:
        return drawn(2**64 - 4 + seed, 2**32 - 5 + epoch, 2**20 + position, indices_N + 2**32 - COUNTS[4])

    assert patterns(far) == []


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_the_generator_with_too_few_rounds_is_refused(rounds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draws, "_KEY_STEPS", draws._KEY_STEPS[:rounds])
    assert len(patterns(drawn)) > 3


def congruential(seed: int, epoch: int, position: int, indices_N: npt.NDArray[np.int64]) -> Values:
    """Numerical Recipes' generator, begun from a number for each sample."""
    state = (indices_N + 7919 * epoch + 104729 * position + 15485863 * seed).astype(np.uint64)
    made = []
    for _ in range(4):
        state = (state * np.uint64(1664525) + np.uint64(1013904223)) & np.uint64(0xFFFFFFFF)
        made.append(state / 2.0**32)
    return np.array(made)


def added_seeds(seed: int, epoch: int, position: int, indices_N: npt.NDArray[np.int64]) -> Values:
    """A good generator behind a sum, so that seed 1 in epoch 2 is seed 2 in epoch 1."""
    return np.array(
        [np.random.default_rng(seed + epoch + position + index).random(4) for index in indices_N.tolist()]
    ).T


def golden_ratio(seed: int, epoch: int, position: int, indices_N: npt.NDArray[np.int64]) -> Values:
    """Evenly spread, more evenly than chance."""
    steps = np.array([0.8566749, 0.7338919, 0.6287067, 0.5385973])
    return (indices_N * 0.4614 + steps[:, None] * (1 + seed + 7 * epoch + 31 * position)) % 1


def no_position(seed: int, epoch: int, _position: int, indices_N: npt.NDArray[np.int64]) -> Values:
    """Two entries of the list draw the same numbers."""
    return drawn(seed, epoch, 0, indices_N)


@pytest.mark.parametrize("mix", [congruential, added_seeds, golden_ratio, no_position])
def test_what_people_write_instead_is_refused(mix: Mix) -> None:
    assert len(patterns(mix)) > 3
