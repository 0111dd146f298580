"""Holding out: each class by its share, the same images whatever lies around them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from worker.training.splitting import stratified


def named(labels: list[int]) -> list[str]:
    return [f"{label}/{number}.png" for number, label in enumerate(labels)]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=80), st.floats(0.01, 0.5), st.integers(0, 2**53))
def test_every_class_keeps_and_gives_its_share_and_no_image_is_lost(
    labels: list[int], fraction: float, seed: int
) -> None:
    train, validation = stratified(np.array(labels), named(labels), fraction, seed)
    assert sorted([*train, *validation]) == list(range(len(labels)))
    assert train.tolist() == sorted(train)
    for label in set(labels):
        total = labels.count(label)
        held_out = int((np.array(labels)[validation] == label).sum())
        assert held_out == (0 if total == 1 else min(max(round(total * fraction), 1), total - 1))


def test_the_seed_decides_which_images_and_nothing_else_does() -> None:
    labels = [0] * 40 + [1] * 60
    names = named(labels)

    def held_out(seed: int, order: list[int]) -> set[str]:
        _, validation = stratified(np.array([labels[n] for n in order]), [names[n] for n in order], 0.25, seed)
        return {names[order[n]] for n in validation}

    straight = list(range(100))
    assert held_out(1, straight) == held_out(1, straight[::-1])
    assert held_out(1, straight) != held_out(2, straight)


def test_an_image_that_is_added_does_not_move_the_others() -> None:
    labels, names = np.zeros(100, np.int64), [f"a/{number}" for number in range(100)]
    before = {names[n] for n in stratified(labels, names, 0.2, 0)[1]}
    after_names = [*names, "b/new"]
    after = {after_names[n] for n in stratified(np.append(labels, 1), after_names, 0.2, 0)[1]}
    assert after == before
