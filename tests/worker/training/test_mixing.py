"""Images and losses mixed as the papers' formulas say, with partners that neither batches nor ranks have a part in."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from app.contract.job import JobSpec
from app.contract.work import Paths, RunOrder
from worker.training import augment, material, mixing, sampling
from worker.training.augment import Pipeline
from worker.training.distributed.single import SingleRank
from worker.training.evaluation import row
from worker.training.loop import Share
from worker.training.material import Material
from worker.training.mixing import Partners
from worker.training.precision import Precision

CPU = torch.device("cpu")
MIXUP, CUTMIX = {"kind": "mixup", "alpha": 1.0}, {"kind": "cutmix"}
BOTH = [MIXUP, CUTMIX]
SEED, EPOCH = 3, 2


def spec(*kinds: dict[str, Any], batch_size: int = 64, precision: str = "fp64") -> JobSpec:
    return JobSpec.model_validate(
        {
            "dataset": {"kind": "builtin", "name": "digits", "validation_fraction": 0.5},
            "model": {"kind": "timm", "name": "test_resnet"},
            "augment": [{"kind": "random_crop", "size": [12, 10], "scale": [0.6, 1.0]}, *kinds],
            "training": {"batch_size": batch_size, "seed": SEED, "precision": precision},
        }
    )


def fed(job: JobSpec, rank: int = 0, ranks: int = 1) -> Material:
    """What a rank trains on. (`SingleRank` can be told to be one of many, as long as nobody is spoken to.)"""
    order = RunOrder(spec=job.resolved(), paths=Paths(run_dir="unused"))
    return material.prepare(order, SingleRank(CPU, rank, ranks), threads=2)


def shares(job: JobSpec, ranks: int = 1) -> list[list[Share]]:
    """Of each rank, for one epoch."""
    made = []
    for rank in range(ranks):
        feed = fed(job, rank, ranks)
        made.append(list(feed.shares(EPOCH, 0)))
        feed.close()
    return made


def pipeline(*kinds: dict[str, Any]) -> Pipeline:
    return augment.compile(spec(*kinds))


def by_sample(made: Sequence[Sequence[Share]], images: int) -> tuple[torch.Tensor, ...]:
    """Images, labels, partners' labels and weights of an epoch, in the order of sample indices."""
    steps = [share for step in zip(*made, strict=True) for share in step]  # as the ranks' shares lie in the batch
    order = torch.from_numpy(np.argsort(sampling.order(images, SEED, EPOCH)))
    both = [share.partners for share in steps if share.partners]
    columns = (
        [share.images_NCHW for share in steps],
        [share.labels_N for share in steps],
        [each.labels_N for each in both],
        [each.weights_N for each in both],
    )
    return tuple(torch.cat(column)[order] for column in columns)


@pytest.mark.parametrize(("batch_size", "ranks"), [(1000, 1), (64, 1), (7, 1), (26, 2), (32, 2), (50, 2), (21, 3)])
def test_a_sample_is_mixed_the_same_whatever_the_batches_and_ranks(batch_size: int, ranks: int) -> None:
    """Odd batches and odd shares part many pairs; an odd number of images leaves the last alone."""
    feed = fed(spec(*BOTH))
    images = len(feed.loaded.train)
    assert images % 2 == 1
    feed.close()
    whole = by_sample(shares(spec(*BOTH, batch_size=10_000)), images)
    made = by_sample(shares(spec(*BOTH, batch_size=batch_size), ranks), images)
    for one, other in zip(made, whole, strict=True):
        assert torch.equal(one, other)


def naive(
    images: npt.NDArray[np.float64], partners: npt.NDArray[np.int64], pipe: Pipeline
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Image by image, pixel area by pixel area: lambda x + (1 - lambda) y, or M * x + (1 - M) * y."""
    blend = pipe.blend(np.arange(len(images)), EPOCH)
    mixed, weights = images.copy(), np.ones(len(images))
    for index, partner in enumerate(partners):
        top, left, height, width = blend.boxes_N4[index]
        keep = blend.keep_N[index]
        mixed[index] = keep * images[index] + (1 - keep) * images[partner]
        box = np.s_[:, top : top + height, left : left + width]
        mixed[index][box] = images[partner][box]
        weights[index] = keep if height * width == 0 else 1 - height * width / images[0, 0].size
    return mixed, weights


@pytest.mark.parametrize("kinds", [[MIXUP], [CUTMIX], BOTH], ids=["mixup", "cutmix", "both"])
@pytest.mark.parametrize("probability", [1.0, 0.4])
def test_images_labels_and_weights_are_those_of_the_formula(kinds: list[dict[str, Any]], probability: float) -> None:
    kinds = [each | {"probability": probability} for each in kinds]
    (unmixed,) = shares(spec(batch_size=10_000))
    order = np.argsort(sampling.order(len(unmixed[0].labels_N), SEED, EPOCH))
    images, labels = unmixed[0].images_NCHW[order].numpy(), unmixed[0].labels_N[order].numpy()
    partners = sampling.partners(sampling.order(len(labels), SEED, EPOCH))
    made = by_sample(shares(spec(*kinds, batch_size=33)), len(labels))
    mixed, weights = naive(images, partners, pipeline(*kinds))
    np.testing.assert_allclose(made[0].numpy(), mixed, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(made[1].numpy(), labels)
    np.testing.assert_array_equal(made[2].numpy(), np.where(weights < 1, labels[partners], labels))
    np.testing.assert_allclose(made[3].numpy(), weights, rtol=0, atol=1e-15)
    untouched = weights == 1
    np.testing.assert_array_equal(made[0].numpy()[untouched], images[untouched])
    assert (untouched.mean() > 0.4) == (probability < 1)


def test_with_both_in_the_list_each_image_is_given_to_one_with_equal_chance() -> None:
    indices = np.arange(20_000)
    blend = pipeline(*BOTH).blend(indices, 0)
    boxed = blend.boxes_N4[:, 2:].all(axis=1)
    blended = blend.keep_N < 1
    assert not (boxed & blended).any()
    assert abs(blended.mean() - 0.5) < 5 * np.sqrt(0.25 / len(indices))
    assert 0.4 < boxed.mean() < 0.5, "in a small image some rectangles have no pixel"


@pytest.mark.parametrize("kind", BOTH, ids=["mixup", "cutmix"])
def test_what_is_drawn_differs_by_seed_epoch_sample_and_place_in_the_list_and_nothing_else(
    kind: dict[str, Any],
) -> None:
    indices = np.arange(1_000)

    def weights(numbers: npt.NDArray[np.int64], epoch: int = 0, seed: int = 0, *before: dict[str, Any]) -> Any:
        job = spec(*before, kind)
        training = job.training.model_copy(update={"seed": seed})
        return augment.compile(job.model_copy(update={"training": training})).blend(numbers, epoch).weights_N

    first, flip = weights(indices), {"kind": "random_flip"}
    others = [weights(indices, 1), weights(indices, 0, 1), weights(indices + 1), weights(indices, 0, 0, flip)]
    for other in others:
        assert (other == first).mean() < 0.2
    order = np.random.default_rng(0).permutation(1_000)
    np.testing.assert_array_equal(weights(order), first[order])


def test_the_turn_tells_nothing_about_what_is_drawn() -> None:
    blend = pipeline(MIXUP, MIXUP | {"probability": 0}).blend(np.arange(20_000), 0)
    keep = blend.keep_N[blend.keep_N < 1]
    assert abs(keep.mean() - 0.5) < 5 * np.sqrt(1 / 12 / len(keep))
    assert abs(np.corrcoef(keep[:-1], keep[1:])[0, 1]) < 5 / np.sqrt(len(keep))


def test_a_partner_is_read_beside_the_share_only_where_it_is_needed_and_not_there() -> None:
    shuffled = sampling.order(101, SEED, EPOCH)
    partners = sampling.partners(shuffled)
    always, never = pipeline(MIXUP), pipeline(MIXUP | {"probability": 0})
    inside = mixing.plan(always, shuffled[10:20], partners, EPOCH)
    assert inside.reading_R.tolist() == shuffled[10:20].tolist()
    parted = mixing.plan(always, shuffled[11:20], partners, EPOCH)
    assert parted.reading_R.tolist() == [*shuffled[11:20], shuffled[10]]
    assert mixing.plan(never, shuffled[11:20], partners, EPOCH).reading_R.tolist() == shuffled[11:20].tolist()
    last = mixing.plan(always, shuffled[99:], partners, EPOCH)
    assert last.reading_R.tolist() == [shuffled[99], shuffled[100], shuffled[98]]
    assert last.places_N.tolist() == [2, 1]


@pytest.mark.parametrize("precision", ["fp32", "fp64", "bf16"])
def test_images_keep_their_type_and_layout_and_weights_are_of_the_losses_type(precision: str) -> None:
    ((share, *_),) = shares(spec(*BOTH, precision=precision))
    ((plain, *_),) = shares(spec(precision=precision))
    assert share.images_NCHW.is_contiguous(memory_format=torch.channels_last)
    assert share.images_NCHW.dtype == plain.images_NCHW.dtype
    assert share.images_NCHW.shape == plain.images_NCHW.shape
    assert share.partners
    assert share.partners.weights_N.dtype == share.images_NCHW.dtype
    assert plain.partners is None


def test_the_host_reads_nothing_back_from_the_device() -> None:
    """Tensors on `meta` have no values: whatever must wait for one raises there."""
    shuffled = sampling.order(20, SEED, EPOCH)
    mix = mixing.plan(pipeline(*BOTH), shuffled[5:14], sampling.partners(shuffled), EPOCH)
    assert mix.blend.boxes_N4.any()
    images_RCHW = torch.empty(len(mix.reading_R), 3, 12, 10, device="meta")
    made = mix.mixed(images_RCHW, torch.empty(len(mix.reading_R), dtype=torch.int64, device="meta"))
    share = Share(made[0], made[1], 9, made[2])
    assert share.images_NCHW.shape == (9, 3, 12, 10)
    for piece in share.cut(2):
        logits_MK = torch.empty(len(piece.labels_N), 10, device="meta")
        assert row(piece.loss(logits_MK), logits_MK, piece.answers_N).device.type == "meta"


def test_without_a_mixing_kind_shares_are_as_the_loader_has_them() -> None:
    feed = fed(spec())
    assert not feed.pipeline.mixing
    batches = sampling.batches(len(feed.loaded.train), 64, 1, SEED, EPOCH)
    for share, batch, loaded in zip(feed.shares(EPOCH, 0), batches, feed.training.train(EPOCH, batches), strict=True):
        assert torch.equal(share.labels_N, loaded.labels_N)
        assert share.batch_samples == len(batch)
        assert share.answers_N is share.labels_N
        logits = torch.randn(len(batch), 10)
        assert torch.equal(share.loss(logits), nn.functional.cross_entropy(logits, share.labels_N))
    feed.close()


def test_an_epoch_that_is_gone_on_with_is_mixed_as_it_was() -> None:
    feed = fed(spec(*BOTH, batch_size=21))
    whole, rest = list(feed.shares(EPOCH, 0)), list(feed.shares(EPOCH, 3))
    feed.close()
    assert len(rest) == len(whole) - 3
    for one, other in zip(whole[3:], rest, strict=True):
        assert torch.equal(one.images_NCHW, other.images_NCHW)
        assert one.batch_samples == other.batch_samples


def mixed_share() -> tuple[Share, torch.Tensor]:
    torch.manual_seed(0)
    weights_5 = torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0], dtype=torch.float64)
    partners = Partners(torch.tensor([1, 2, 2, 0, 1]), weights_5)
    labels_5 = torch.tensor([0, 0, 1, 1, 2])
    logits_53 = torch.randn(5, 3, dtype=torch.float64)
    return Share(torch.randn(5, 1, 2, 2, dtype=torch.float64), labels_5, 5, partners), logits_53


def test_the_loss_is_the_cross_entropy_to_both_labels_by_their_weights() -> None:
    share, logits_53 = mixed_share()
    log_53 = np.log(np.exp(logits_53.numpy()) / np.exp(logits_53.numpy()).sum(axis=1, keepdims=True))
    own, other, weights = [0, 0, 1, 1, 2], [1, 2, 2, 0, 1], [1, 0.75, 0.5, 0.25, 0]
    each = [-(w * log_53[n, a] + (1 - w) * log_53[n, b]) for n, (a, b, w) in enumerate(zip(own, other, weights, strict=True))]  # fmt: skip  # noqa: E501
    assert share.loss(logits_53).item() == pytest.approx(np.mean(each), rel=1e-14)
    soft_53 = torch.zeros(5, 3, dtype=torch.float64)
    for n, (a, b, w) in enumerate(zip(own, other, weights, strict=True)):
        soft_53[n, a] += w
        soft_53[n, b] += 1 - w
    torch.testing.assert_close(share.loss(logits_53), nn.functional.cross_entropy(logits_53, soft_53))


def test_under_autocast_the_loss_is_computed_in_fp32_and_has_gradients() -> None:
    share, logits_53 = mixed_share()
    assert share.partners
    partners = Partners(share.partners.labels_N, share.partners.weights_N.float())
    short_53 = logits_53.bfloat16().requires_grad_()
    with Precision("cpu", compute=torch.bfloat16).autocast():
        loss = Share(share.images_NCHW, share.labels_N, 5, partners).loss(short_53)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(share.loss(short_53.detach().double()).item(), rel=1e-6)
    loss.backward()
    assert short_53.grad is not None
    assert short_53.grad.abs().min() > 0


def test_the_right_answer_is_the_label_of_the_larger_part() -> None:
    share, _ = mixed_share()
    assert share.answers_N.tolist() == [0, 0, 1, 0, 1]
    sums_3 = row(torch.tensor(0.0), nn.functional.one_hot(share.answers_N, 3).double(), share.answers_N)
    assert sums_3.tolist() == [0, 5, 5]


def test_a_mixed_share_is_cut_with_its_partners() -> None:
    share, logits_53 = mixed_share()
    pieces = list(share.cut(2))
    assert [len(piece.labels_N) for piece in pieces] == [3, 2]
    losses = [piece.loss(logits) * len(piece.labels_N) for piece, logits in zip(pieces, logits_53.split([3, 2]), strict=True)]  # fmt: skip  # noqa: E501
    torch.testing.assert_close(torch.stack(losses).sum() / 5, share.loss(logits_53))
    assert torch.cat([piece.answers_N for piece in pieces]).tolist() == share.answers_N.tolist()
