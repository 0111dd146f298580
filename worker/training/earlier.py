"""`baseline: job`: the network of an earlier job, as what this job's is compared with; and what jobs on other splits of
the same data have seen."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from app.contract.training import JobBaseline
from app.contract.work import RunOrder
from worker.training import data, export, splits
from worker.training.card import BrokenModel, ModelCard, read_card
from worker.training.data import LoadedData, Outline
from worker.training.errors import RunFailure, bad_spec

POINTER = "/baseline/job"


def check(order: RunOrder, found: Outline | LoadedData) -> None:
    """Refuse an earlier network whose accuracy would not compare with this job's, before anything is trained.

    It must tell the same classes apart and read images of the same size and channels; its job must have trained on the
    same images, none of which this job validates with. Raises `bad_spec`; nothing happens without such a baseline.
    """
    if not isinstance(order.spec.baseline, JobBaseline):
        return
    card = _card(order)
    _check_classes(card, found.classes)
    _check_input(card, order)
    if found.is_split:
        _check_split(order)
    if isinstance(found, LoadedData) and card.dataset_sha256 not in (None, found.sha256):
        raise _refused("other_data", "was trained on other data, so that its accuracy does not compare", order)


def check_whole(order: RunOrder) -> None:
    """Refuse one whose files are damaged: it is built as a whole, as it will be when it is measured."""
    if isinstance(order.spec.baseline, JobBaseline):
        try:
            export.rebuild(folder(order))
        except BrokenModel as error:
            raise _broken(order, error) from error


def folder(order: RunOrder) -> Path:
    """Where its model.json and model.safetensors are. Raises `bad_spec` when they are not on this worker."""
    if order.paths.baseline is None:
        raise bad_spec(POINTER, f"The files of {_job(order)} are not on this worker.", "model_missing")
    return Path(order.paths.baseline)


def _card(order: RunOrder) -> ModelCard:
    try:
        return read_card(folder(order))
    except BrokenModel as error:
        raise _broken(order, error) from error


def _check_classes(card: ModelCard, classes: Sequence[str]) -> None:
    if list(card.classes) == list(classes):
        return
    theirs, ours = sorted(set(card.classes) - set(classes))[:3], sorted(set(classes) - set(card.classes))[:3]
    difference = f"only there {theirs}, only here {ours}" if theirs or ours else "the same ones in another order"
    detail = f"The network of the baseline tells {len(card.classes)} classes apart, this data has {len(classes)} "
    raise bad_spec(POINTER, f"{detail}({difference}): compare with a job on the same data.", "other_classes")


def _check_input(card: ModelCard, order: RunOrder) -> None:
    channels, size = data.channels(order), order.spec.image_size
    if card.channels != channels:
        theirs, ours = ("luminance" if each == 1 else "RGB" for each in (card.channels, channels))
        why = f"reads {theirs} and this network {ours}: compare with a job whose network reads {ours}"
        raise _refused("other_channels", why, order)
    if card.image_size != size:
        theirs, ours = f"{card.image_size[0]}x{card.image_size[1]}", f"{size[0]}x{size[1]}"
        raise _refused("other_image_size", f"reads {theirs} images, not {ours}: resize to {theirs}", order)


def _check_split(order: RunOrder) -> None:
    """Without a validation part of the data's own, seed and fraction decide what is held out."""
    theirs = order.baseline_split
    ours = order.spec.training.seed, order.spec.dataset.validation_fraction
    if theirs is not None and (theirs.seed, theirs.validation_fraction) != ours:
        split = f"training.seed {theirs.seed} and validation_fraction {theirs.validation_fraction:g}"
        why = f"held out other images ({split}) and has trained on some that this job validates with: use the same"
        raise _refused("other_split", why, order)


def split_warnings(order: RunOrder, found: Outline) -> Iterator[str]:
    """See `splits`."""
    return splits.warnings(order, found, lambda folder: read_card(folder).dataset_sha256)


def _refused(code: str, why: str, order: RunOrder) -> RunFailure:
    return bad_spec(POINTER, f"{_job(order)} {why}.", code)


def _broken(order: RunOrder, error: BrokenModel) -> RunFailure:
    return bad_spec(POINTER, f"The model of {_job(order)} cannot be used: {error}", "model_broken")


def _job(order: RunOrder) -> str:
    return order.spec.baseline.job if isinstance(order.spec.baseline, JobBaseline) else "no job"
