import numpy as np
import pytest

from worker.training import sampling
from worker.training.errors import RunFailure
from worker.training.sampling import Division, portions


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
@pytest.mark.parametrize("images", [10, 64, 129, 131, 1437])
def test_each_sample_is_seen_exactly_once_an_epoch_by_some_rank(images: int, ranks: int) -> None:
    batches = sampling.batches(images, 30, ranks, seed=3, epoch=2)
    division = Division(30, ranks)
    both = [portion for batch in batches for rank in range(ranks) for portion in portions(batch, rank, division)]
    seen = [index for portion in both if portion.counts for index in portion.indices_N]
    assert sorted(seen) == list(range(images))
    assert len(batches) == sampling.steps_per_epoch(images, 30, ranks)


def test_the_global_batches_are_the_same_for_any_number_of_ranks() -> None:
    one, four = (sampling.batches(1437, 64, ranks, seed=3, epoch=2) for ranks in (1, 4))
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(one, four, strict=True))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = {tuple(sampling.order(50, seed, epoch)) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


@pytest.mark.parametrize("ranks", [1, 2, 16])
@pytest.mark.parametrize(
    ("images", "sizes"),
    [(131, [64, 34, 33]), (128, [64, 64]), (127, [64, 63]), (65, [33, 32]), (64, [64]), (40, [40])],
)
def test_the_last_two_batches_share_what_is_left_for_them_for_any_number_of_ranks(
    images: int, sizes: list[int], ranks: int
) -> None:
    assert [len(batch) for batch in sampling.batches(images, 64, ranks, seed=0, epoch=0)] == sizes


@pytest.mark.parametrize("batch_size", [2, 3, 4, 7, 64])
def test_no_batch_is_a_handful_where_one_could_be_full(batch_size: int) -> None:
    for images in range(batch_size, 200):
        sizes = [len(batch) for batch in sampling.batches(images, batch_size, 1, seed=0, epoch=0)]
        assert min(sizes) >= max(batch_size / 2, 2)
        assert max(sizes) <= max(batch_size, 3)
        assert len(sizes) == -(-images // batch_size) or batch_size == 2


DIVISIONS = [Division(12, ranks, passes) for ranks in (1, 2, 3, 6) for passes in (1, 2)] + [Division(6, 3, 2)]


@pytest.mark.parametrize("division", DIVISIONS, ids=str)
def test_over_all_ranks_each_pass_has_the_samples_that_one_rank_has_in_it(division: Division) -> None:
    alone = Division(division.batch_size, 1, division.passes)
    for samples in range(2, division.batch_size + 2):
        batch = np.random.default_rng(samples).permutation(samples)
        passes = zip(*(portions(batch, rank, division) for rank in range(division.ranks)), strict=True)
        for whole, ranks in zip(portions(batch, 0, alone), passes, strict=True):
            counting = [each.indices_N for each in ranks if each.counts]
            assert np.array_equal(np.concatenate(counting), whole.indices_N)
            sizes = [len(each.indices_N) for each in ranks]
            assert (max(sizes), min(sizes)) == (ranks[0].most, ranks[0].fewest)
            assert max(sizes) - min(sizes) <= 1
            assert min(sizes) >= division.least
            for idle in ranks[len(counting) :]:
                assert np.array_equal(idle.indices_N, ranks[0].indices_N)


def test_full_batches_are_divided_equally_and_only_the_end_is_not() -> None:
    division = Division(24, 3, 2)
    assert [len(each.indices_N) for each in portions(np.arange(24), 1, division)] == [4, 4]
    assert [len(each.indices_N) for each in portions(np.arange(11), 1, division)] == [2, 2]
    assert [each.counts for each in portions(np.arange(5), 1, division)] == [False, False]
    assert (sampling.largest_share(59, 24, 3, 2), sampling.smallest_share(59, 24, 3, 2)) == (4, 2)
    assert sampling.largest_share(7, 2, 1) == 3, "the last three stay together"


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_every_rank_computes_at_least_two_samples_in_every_pass(ranks: int) -> None:
    for images in range(2 * ranks, 200):
        assert sampling.smallest_share(images, 12, ranks, 2) >= 2


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
