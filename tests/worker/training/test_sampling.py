import numpy as np
import pytest

from worker.training import sampling
from worker.training.errors import RunFailure


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
@pytest.mark.parametrize("images", [10, 64, 129, 131, 1437])
def test_each_sample_is_seen_exactly_once_an_epoch_by_some_rank(images: int, ranks: int) -> None:
    batches = sampling.batches(images, 30, ranks, seed=3, epoch=2)
    seen = [index for batch in batches for rank in range(ranks) for index in sampling.share(batch, rank, ranks)]
    assert sorted(seen) == list(range(images))
    assert len(batches) == sampling.steps_per_epoch(images, 30, ranks)


def test_the_global_batches_are_the_same_for_any_number_of_ranks() -> None:
    one, four = (sampling.batches(1437, 64, ranks, seed=3, epoch=2) for ranks in (1, 4))
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(one, four, strict=True))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = {tuple(sampling.order(50, seed, epoch)) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


@pytest.mark.parametrize(("images", "sizes"), [(131, [64, 67]), (132, [64, 64, 4]), (128, [64, 64]), (66, [66])])
def test_a_rest_of_fewer_than_two_samples_a_rank_joins_the_batch_before(images: int, sizes: list[int]) -> None:
    assert [len(batch) for batch in sampling.batches(images, 64, ranks=2, seed=0, epoch=0)] == sizes


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_every_rank_has_at_least_two_samples_in_every_step(ranks: int) -> None:
    for images in range(2 * ranks, 200):
        batches = sampling.batches(images, 12, ranks, seed=0, epoch=0)
        assert min(len(sampling.share(batch, rank, ranks)) for batch in batches for rank in range(ranks)) >= 2


def test_too_few_images_for_the_ranks_are_refused() -> None:
    with pytest.raises(RunFailure, match="5 training images are too few for 3 processes"):
        sampling.batch_edges(5, 64, 3)


@pytest.mark.parametrize(("images", "ranks"), [(1, 3), (360, 2), (361, 3)])
def test_each_validation_image_is_scored_exactly_once_over_all_ranks(images: int, ranks: int) -> None:
    shares = [batch for rank in range(ranks) for batch in sampling.evaluation_shares(images, 50, rank, ranks)]
    assert sorted(np.concatenate(shares)) == list(range(images))
    assert max(map(len, shares)) <= 50


@pytest.mark.parametrize("images", [2, 3, 64, 129])
def test_everyone_has_one_partner_whose_partner_he_is_but_the_last_of_an_odd_number(images: int) -> None:
    shuffled = sampling.order(images, seed=3, epoch=2)
    partners = sampling.partners(shuffled)
    assert (partners[partners] == np.arange(images)).all()
    alone = np.flatnonzero(partners == np.arange(images))
    assert alone.tolist() == ([shuffled[-1]] if images % 2 else [])
    assert partners[shuffled[0]] == shuffled[1]


def test_over_many_epochs_every_other_sample_is_as_likely_a_partner() -> None:
    counts = np.zeros((9, 9))
    for epoch in range(9_000):
        counts[np.arange(9), sampling.partners(sampling.order(9, seed=0, epoch=epoch))] += 1
    expected = 9_000 / 9  # the diagonal too: each is the last of the odd number in one epoch of nine
    assert ((counts - expected) ** 2 / expected).sum() < 81 + 6 * np.sqrt(2 * 81)
