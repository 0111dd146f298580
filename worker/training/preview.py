"""What training will see, before it begins: `python -m worker.training.preview REQUEST.json OUT.json`.

The request is a PreviewTask. Images come from the code that trains: sources from `data`, pixels from the `Pipeline` of
`augment`, so what is shown is what a job feeds its network, byte for byte. The answer is a PreviewFiles, or a Failure
and exit code 1; the files themselves lie in the order's run folder. Nothing here loads torch.
"""

import hashlib
import sys
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.contract.models import Timm
from app.contract.previews import (
    Drawn,
    MixedWith,
    Preview,
    PreviewFiles,
    PreviewImage,
    PreviewOriginal,
    PreviewSpec,
    StoredFile,
)
from app.contract.work import PreviewTask, RunOrder
from worker.training import answers, augment, data, pictures, sampling
from worker.training.augment import Explained, Pipeline
from worker.training.blend import Blend
from worker.training.cache import fingerprint
from worker.training.data import LoadedData
from worker.training.images import Image
from worker.training.pictures import Tile

# N = images in the training set, S = images that are shown

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Mixed:
    """Images and their partners, as worker/training/mixing.py mixes them on the device; here in whole values."""

    images_NHWC: Image
    partners_S: Indices
    blend: Blend

    def told(self, number: int, loaded: LoadedData) -> MixedWith | None:
        """Whom an image was mixed with."""
        partner, weight = int(self.partners_S[number]), float(self.blend.weights_N[number])
        if weight == 1:
            return None
        label = loaded.classes[loaded.train.labels_N[partner]]
        box = self.blend.boxes_N4[number].tolist()
        return MixedWith(sample=partner, name=loaded.train_names[partner], label=label, weight=weight, box=box)


@dataclass(frozen=True)
class Shown:
    """The chosen images in all their looks."""

    indices_S: Indices
    sources: list[Image]
    originals: Image
    """S x H x W x C: as they are evaluated."""
    epochs: list[Explained]
    """As training shows them, epoch by epoch; where labels are mixed, before that."""
    mixes: list[Mixed | None]
    """The same, mixed; null where the list mixes nothing."""

    def image(self, epoch: int, number: int) -> Image:
        """Image `number` of those that are shown, as the network sees it."""
        mixed = self.mixes[epoch]
        return (mixed or self.epochs[epoch]).images_NHWC[number]


def choose(labels_N: npt.NDArray[np.int64], seed: int, count: int) -> Indices:
    """Training images of each class in turn, in the order in which the first epoch shows them; sorted by class."""
    shuffled = sampling.order(len(labels_N), seed, 0)
    by_class = np.argsort(labels_N[shuffled], kind="stable")
    starts = np.searchsorted(labels_N[shuffled][by_class], labels_N[shuffled][by_class])
    turns = np.empty(len(shuffled), np.int64)
    turns[by_class] = np.arange(len(shuffled)) - starts
    first = np.sort(np.argsort(turns, kind="stable")[:count])
    chosen = shuffled[first]
    return chosen[np.argsort(labels_N[chosen], kind="stable")]


def look(loaded: LoadedData, pipeline: Pipeline, indices_S: Indices, epochs: int, seed: int) -> Shown:
    """All that is shown of the images. Raises RunFailure when one cannot be read any more."""
    sources = _read(loaded, indices_S)
    looks = [pipeline.explain(sources, indices_S, epoch) for epoch in range(epochs)]
    mixes = [
        _mixed(loaded, pipeline, indices_S, each.images_NHWC, (seed, epoch)) if pipeline.mixing else None
        for epoch, each in enumerate(looks)
    ]
    return Shown(indices_S, sources, pipeline.evaluate_NHWC(sources), looks, mixes)


def _mixed(
    loaded: LoadedData, pipeline: Pipeline, indices_S: Indices, own_SHWC: Image, seed_epoch: tuple[int, int]
) -> Mixed:
    seed, epoch = seed_epoch
    partners_S = sampling.partners(sampling.order(len(loaded.train), seed, epoch))[indices_S]
    others_SHWC = pipeline.train_NHWC(_read(loaded, partners_S), partners_S, epoch)
    blend = pipeline.blend(indices_S, epoch)
    keep_SHW1 = np.empty((*own_SHWC.shape[:3], 1))
    for keep_HW1, keep, (top, left, height, width) in zip(keep_SHW1, blend.keep_N, blend.boxes_N4, strict=True):
        keep_HW1[...] = keep
        keep_HW1[top : top + height, left : left + width] = 0
    made_SHWC = np.rint(others_SHWC + keep_SHW1 * (own_SHWC.astype(np.float64) - others_SHWC))
    return Mixed(made_SHWC.astype(np.uint8), partners_S, blend)


def _read(loaded: LoadedData, indices_S: Indices) -> list[Image]:
    return [loaded.train.read(int(index)) for index in indices_S]


def document(task: PreviewTask, loaded: LoadedData, shown: Shown) -> Preview:
    """The images and what was drawn for them, for programs."""
    names, classes = loaded.train_names, [loaded.classes[label] for label in loaded.train.labels_N[shown.indices_S]]
    facts = [(int(index), names[index], label) for index, label in zip(shown.indices_S, classes, strict=True)]
    return Preview(
        spec=_spec(task),
        images=[
            _image(task, loaded, shown, *fact, number=number, epoch=epoch)
            for number, fact in enumerate(facts)
            for epoch in range(task.epochs)
        ],
        originals=[
            PreviewOriginal(
                sample=sample, name=name, label=label, height=source.shape[0], width=source.shape[1], png=_png(image)
            )
            for (sample, name, label), source, image in zip(facts, shown.sources, shown.originals, strict=True)
        ],
        refused=loaded.refused,
        refused_count=loaded.refused_count,
    )


def grid(loaded: LoadedData, shown: Shown) -> Image:
    """The images for people: a row for each, as it is evaluated and then as the epochs show it."""
    return pictures.sheet([list(_row(loaded, shown, number)) for number in range(len(shown.indices_S))])


def make(task: PreviewTask, scratch: Path) -> PreviewFiles:
    """Write the grid and the document. Raises RunFailure: `bad_dataset`, `bad_spec`.

    Decoded images that the worker keeps are read; for a few images, none are added.
    `scratch` is a folder that nobody else sees.
    """
    loaded, pipeline = data.load(_checked_in(scratch, task.order), keep=False), augment.compile(task.order.spec)
    indices_S = choose(loaded.train.labels_N, task.order.spec.training.seed, task.count)
    shown = look(loaded, pipeline, indices_S, task.epochs, task.order.spec.training.seed)
    folder = Path(task.order.paths.run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    return PreviewFiles(
        grid=_stored(folder, pictures.png(grid(loaded, shown))),
        document=_stored(folder, document(task, loaded, shown).model_dump_json().encode()),
    )


def _checked_in(scratch: Path, order: RunOrder) -> RunOrder:
    """The order with the place where `data` leaves the list of a folder's files.

    A set is checked once for all previews of an hour, after which upkeep removes the list: people preview one set many
    times, and the check of 100,000 images takes minutes. The content of a registered set is pinned; any other folder
    is recognised by names, sizes, times and inodes of its files, and checked anew where one differs or is so young
    that it might still change unseen.
    """
    pinned = order.paths.dataset_sha256
    name = f"set_{pinned}" if pinned else _of_folder(order.paths.dataset)
    place = Path(order.paths.run_dir).with_name(name) if name else scratch
    return order.model_copy(update={"paths": order.paths.model_copy(update={"run_dir": str(place)})})


def _of_folder(folder: str | None) -> str:
    """A name for the state of a folder; empty when another state could get the same."""
    seen = fingerprint.take(folder) if folder else None
    return f"folder_{seen.sha256}" if seen and seen.settled else ""


def _spec(task: PreviewTask) -> PreviewSpec:
    job = task.order.spec
    assert isinstance(job.model, Timm)
    return PreviewSpec(
        dataset=job.dataset,
        augment=job.augment,
        evaluation=job.evaluation,
        channels=job.model.channels,
        count=task.count,
        epochs=task.epochs,
        seed=job.training.seed,
    )


def _image(
    task: PreviewTask, loaded: LoadedData, shown: Shown, sample: int, name: str, label: str, *, number: int, epoch: int
) -> PreviewImage:
    look, mixed = shown.epochs[epoch], shown.mixes[epoch]
    kinds = [each.kind for each in task.order.spec.augment]
    drawn = [
        Drawn(
            position=position,
            kind=kinds[position],
            values={key: each[number].tolist() for key, each in look.notes[position].items()},
        )
        for position in sorted(look.notes)
    ]
    return PreviewImage(
        sample=sample,
        name=name,
        label=label,
        epoch=epoch,
        png=_png(shown.image(epoch, number)),
        drawn=drawn,
        matrix=look.plan.matrices_N33[number, :2].tolist(),
        border=look.plan.borders[number],
        mixed=mixed.told(number, loaded) if mixed else None,
    )


def _row(loaded: LoadedData, shown: Shown, number: int) -> Iterator[Tile]:
    index = shown.indices_S[number]
    label = int(loaded.train.labels_N[index])
    name = pictures.caption(loaded.classes[label], label)
    yield Tile(shown.originals[number], (name, f"#{index} evaluated"))
    for epoch, mixed in enumerate(shown.mixes):
        told = mixed.told(number, loaded) if mixed else None
        yield Tile(shown.image(epoch, number), (_label(name, told, loaded), f"#{index} epoch {epoch}"))


def _label(name: str, told: MixedWith | None, loaded: LoadedData) -> str:
    """`cat`, or `70% cat 30% dog`."""
    if told is None:
        return name
    other = pictures.caption(told.label, loaded.classes.index(told.label))
    return f"{told.weight:.0%} {name} {1 - told.weight:.0%} {other}"


def _png(image: Image) -> str:
    return b64encode(pictures.png(image)).decode()


def _stored(folder: Path, content: bytes) -> StoredFile:
    """Named by its content, so that two workers that make the same preview do not meet."""
    sha256 = hashlib.sha256(content).hexdigest()
    answers.write(folder / sha256, content)
    return StoredFile(sha256=sha256, size_bytes=len(content))


def main(arguments: Sequence[str]) -> int:
    """Exit code 0 with the files' names, or 1 with a failure."""
    if len(arguments) != 2:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    request, out = Path(arguments[0]), Path(arguments[1])

    def made() -> PreviewFiles:
        return make(PreviewTask.model_validate_json(request.read_bytes()), out.parent)

    return answers.give(out, made, answers.explainer("The preview"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
