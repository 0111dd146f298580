"""Previews show what training feeds its network, byte for byte, whoever makes them."""

import base64
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import sklearn.datasets
import torch

from app.contract.augment import Augment
from app.contract.data import Registered
from app.contract.failures import Failure, FailureCode
from app.contract.previews import Preview, PreviewFiles, PreviewSpec
from app.contract.spec import kinds
from app.contract.work import Paths, PreviewTask, RunOrder
from tests.support.image_sets import image_folder, write
from worker.training import augment, data, mixing, preview, sampling, stored_size
from worker.training.closest_look import reduction_of
from worker.training.errors import RunFailure
from worker.training.loader import Loader
from worker.training.opencv import cv2

pytestmark = pytest.mark.timeout(600)  # some start processes, which take long on a busy machine

DIGITS = {"kind": "builtin", "name": "digits"}
FOLDER = {"kind": "folder", "path": "set"}
LIST = [
    {"kind": "random_crop", "size": [32, 24], "scale": [0.3, 1.0]},
    {"kind": "random_flip"},
    {"kind": "color_jitter", "brightness": 0.4, "hue": 0.1},
    {"kind": "rand_augment"},
    {"kind": "random_erasing", "fill": "noise"},
]


def task(run_dir: Path, folder: Path | None = None, **body: Any) -> PreviewTask:
    """The order that the service writes for a request."""
    spec = PreviewSpec.model_validate({"dataset": FOLDER if folder else DIGITS, **body})
    paths = Paths(run_dir=str(run_dir), dataset=str(folder) if folder else None)
    return PreviewTask(order=RunOrder(spec=spec.job().resolved(), paths=paths), count=spec.count, epochs=spec.epochs)


def made(given: PreviewTask) -> tuple[bytes, Preview]:
    """The grid and the document."""
    folder = Path(given.order.paths.run_dir)
    files = preview.make(given, folder.with_name(f"{folder.name}.scratch"))
    contents = [(folder / file.sha256).read_bytes() for file in (files.grid, files.document)]
    assert [len(content) for content in contents] == [files.grid.size_bytes, files.document.size_bytes]
    return contents[0], Preview.model_validate_json(contents[1])


def pixels(png: str) -> npt.NDArray[np.uint8]:
    """Of an image of the document, H x W x C."""
    image = cv2.imdecode(np.frombuffer(base64.b64decode(png), np.uint8), cv2.IMREAD_UNCHANGED)
    return np.asarray(image[..., None] if image.ndim == 2 else image[..., ::-1], np.uint8)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two that come with scikit-learn, whole and cut, in two classes."""
    root = tmp_path_factory.mktemp("photographs")
    source = Path(sklearn.datasets.__file__).with_name("images")
    for name in ("china", "flower"):
        content = (source / f"{name}.jpg").read_bytes()
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        write(root / name / "0.jpg", content)
        for number, (top, left) in enumerate([(0, 0), (100, 200), (127, 300)], start=1):
            part = image[top : top + 300 - 40 * number, left : left + 340]
            write(root / name / f"{number}.jpg", bytes(cv2.imencode(".jpg", part)[1]))
    return root


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_those_that_the_loader_feeds_the_network(tmp_path: Path, channels: int) -> None:
    given = task(tmp_path, augment=LIST, seed=11, count=12, epochs=3, channels=channels)
    _, shown = made(given)
    loaded, pipeline = data.load(given.order), augment.compile(given.order.spec)
    batches = [np.arange(start, min(start + 100, len(loaded.train))) for start in range(0, len(loaded.train), 100)]
    for epoch in range(3):
        with Loader(loaded.train, pipeline, 2) as loader:
            fed = np.concatenate([batch.images_NHWC.numpy() for batch in loader.train(epoch, batches)])
        mine = [each for each in shown.images if each.epoch == epoch]
        assert len(mine) == 12
        for each in mine:
            np.testing.assert_array_equal(pixels(each.png), fed[each.sample])
            assert each.label == loaded.classes[loaded.train.labels_N[each.sample]]
    with Loader(loaded.train, pipeline, 2) as loader:
        seen = np.concatenate([batch.images_NHWC.numpy() for batch in loader.evaluate(batches)])
    for original in shown.originals:
        np.testing.assert_array_equal(pixels(original.png), seen[original.sample])


def test_files_are_named_and_shown_as_the_pipeline_makes_them(tmp_path: Path, photographs: Path) -> None:
    given = task(tmp_path, photographs, augment=LIST, count=64, epochs=2)
    _, shown = made(given)
    assert {each.name for each in shown.images} == {each.name for each in shown.originals}
    assert len(shown.originals) == len(data.load(given.order).train) == 6
    pipeline, reduction = augment.compile(given.order.spec), reduction_of(given.order.spec)
    for each in shown.images:
        assert each.name.startswith(f"{each.label}/")
        source, _ = stored_size.decode((photographs / each.name).read_bytes(), 3, reduction)
        expected = pipeline.train_NHWC([source], np.array([each.sample]), each.epoch)[0]
        np.testing.assert_array_equal(pixels(each.png), expected)


def test_what_was_drawn_stands_beside_each_image(tmp_path: Path) -> None:
    _, shown = made(task(tmp_path, augment=LIST, count=3, epochs=2))
    for each in shown.images:
        assert [(drawn.position, drawn.kind) for drawn in each.drawn] == list(enumerate(a["kind"] for a in LIST))
        values = {name: value for drawn in each.drawn for name, value in drawn.values.items()}
        assert isinstance(values["flipped"], bool)
        assert 0.6 <= values["brightness"] <= 1.4  # type: ignore[operator]
        assert isinstance(values["operation_2"], str)
        assert np.array(each.matrix).shape == (2, 3)
    assert [(each.sample, each.epoch) for each in shown.images] == [(each.sample, e) for each in shown.originals for e in (0, 1)]  # fmt: skip  # noqa: E501
    assert shown.spec == PreviewSpec.model_validate({"dataset": DIGITS, "augment": LIST, "count": 3, "epochs": 2}).resolved()  # fmt: skip  # noqa: E501


@pytest.mark.parametrize("kinds_of_mixing", [["mixup"], ["cutmix"], ["mixup", "cutmix"]])
def test_mixed_images_are_those_that_the_device_mixes(tmp_path: Path, kinds_of_mixing: list[str]) -> None:
    entries = [LIST[0], *({"kind": kind, "probability": 0.7} for kind in kinds_of_mixing)]
    given = task(tmp_path, augment=entries, seed=5, count=20, epochs=2)
    _, shown = made(given)
    loaded, pipeline = data.load(given.order), augment.compile(given.order.spec)
    for epoch in range(2):
        mine = [each for each in shown.images if each.epoch == epoch]
        indices = np.array([each.sample for each in mine])
        partners = sampling.partners(sampling.order(len(loaded.train), 5, epoch))
        mix = mixing.plan(pipeline, indices, partners, epoch)
        read = pipeline.train_NHWC([loaded.train.read(int(n)) for n in mix.reading_R], mix.reading_R, epoch)
        floats = torch.from_numpy(read).permute(0, 3, 1, 2).double()
        fed, labels, others = mix.mixed(floats, torch.from_numpy(loaded.train.labels_N[mix.reading_R]))
        for number, each in enumerate(mine):
            assert np.abs(pixels(each.png) - fed[number].permute(1, 2, 0).numpy()).max() <= 0.5 + 1e-9
            assert loaded.classes[labels[number]] == each.label
            told = each.mixed
            assert (told is None) == (others.weights_N[number] == 1)
            if told:
                assert told.weight == pytest.approx(float(others.weights_N[number]))
                assert (told.sample, told.label) == (partners[each.sample], loaded.classes[others.labels_N[number]])
    assert 0 < sum(each.mixed is None for each in shown.images) < 40


def test_samples_come_from_each_class_in_turn() -> None:
    labels_N = np.repeat([0, 1, 2], [500, 3, 40])
    for count in (1, 3, 9, 12, 46, 543, 1000):
        chosen = preview.choose(labels_N, 5, count)
        counts = np.bincount(labels_N[chosen], minlength=3)
        assert len(set(chosen.tolist())) == min(count, 543) == counts.sum()
        assert (np.diff(labels_N[chosen]) >= 0).all()
        assert counts.max() - min(counts[0], counts[2]) <= 1 or count > 46
        assert counts[1] == min(3, counts.max(), max(count // 3, counts[1]))
    assert set(preview.choose(labels_N, 5, 9)) <= set(preview.choose(labels_N, 5, 12))
    assert set(preview.choose(labels_N, 5, 9)) != set(preview.choose(labels_N, 6, 9))


def test_ten_thousand_classes_are_chosen_from_at_random() -> None:
    chosen = preview.choose(np.repeat(np.arange(10_000), 3), 0, 16)
    assert len(set(chosen // 3)) == 16
    assert chosen.max() > 15_000


def test_the_same_seed_is_the_same_bytes_in_another_process_with_other_threads(tmp_path: Path) -> None:
    here = made(task(tmp_path / "here", augment=LIST, seed=3, count=4))
    for threads in ("1", "7"):
        code, out, folder = run(task(tmp_path / threads, augment=LIST, seed=3, count=4), OMP_NUM_THREADS=threads)
        assert code == 0, out
        files = PreviewFiles.model_validate_json(out)
        assert (folder / files.grid.sha256).read_bytes() == here[0]
        assert Preview.model_validate_json((folder / files.document.sha256).read_bytes()) == here[1]
    assert made(task(tmp_path / "other", augment=LIST, seed=4, count=4))[0] != here[0]


def run(given: PreviewTask, **environment: str) -> tuple[int, bytes, Path]:
    """The program that the worker starts: its exit code, what it answers, and where its files are."""
    folder = Path(given.order.paths.run_dir)
    own = folder.with_name(f"{folder.name}.own")
    write(own / "request.json", given.model_dump_json().encode())
    command = [sys.executable, "-m", "worker.training.preview", own / "request.json", own / "out.json"]
    done = subprocess.run(command, env=os.environ | environment, check=False)
    return done.returncode, (own / "out.json").read_bytes(), folder


def test_the_program_leaves_its_two_files_and_no_others(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", {"cats": 5, "dogs": 5})
    code, out, left = run(task(tmp_path / "run", folder, count=2))
    assert code == 0
    files = PreviewFiles.model_validate_json(out)
    assert {each.name for each in left.iterdir()} == {files.grid.sha256, files.document.sha256}


def test_a_folder_that_changed_is_looked_at_anew(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", {"cats": 5, "dogs": 5})
    given = task(tmp_path / "run", folder, count=64)
    assert len(made(given)[1].originals) == 8
    image_folder(tmp_path / "set", {"birds": 5})
    code, out, _ = run(given)
    files = PreviewFiles.model_validate_json(out)
    assert code == 0
    shown = Preview.model_validate_json((tmp_path / "run" / files.document.sha256).read_bytes())
    assert {each.label for each in shown.originals} == {"birds", "cats", "dogs"}


def test_a_folder_that_is_not_there_is_a_bad_data_set(tmp_path: Path) -> None:
    code, out, _ = run(task(tmp_path, tmp_path / "none"))
    assert (code, Failure.model_validate_json(out).code) == (1, FailureCode.BAD_DATASET)


def test_a_defect_is_answered_too(tmp_path: Path) -> None:
    request, out = write(tmp_path / "request.json", b"{}"), tmp_path / "out.json"
    assert preview.main([str(request), str(out)]) == 1
    assert Failure.model_validate_json(out.read_bytes()).code == FailureCode.INTERNAL
    assert preview.main([]) == 2


def test_files_that_cannot_be_read_are_left_out_and_named(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", {"cats": 60, "dogs": 60})
    write(folder / "cats" / "30.png", b"no image")
    _, shown = made(task(tmp_path / "run", folder, count=64))
    assert [each.name for each in shown.refused] == ["cats/30.png"]
    assert shown.refused_count == 1
    assert "cats/30.png" not in {each.name for each in shown.images}


def test_a_set_that_training_refuses_is_refused(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", {"cats": 5, "dogs": 5})
    write(folder / "cats" / "3.png", b"no image")
    with pytest.raises(RunFailure, match=r"cats/3\.png") as refused:
        preview.make(task(tmp_path / "run", folder), tmp_path)
    assert refused.value.failure.code == FailureCode.BAD_DATASET


def test_a_registered_set_is_checked_once_for_all_its_previews(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", {"cats": 5, "dogs": 5})
    sha256 = data.load(task(tmp_path / "x", folder).order).sha256
    seen = []
    for seed in (1, 2):
        given = task(tmp_path / "storage" / f"task_{seed}", folder, seed=seed)
        spec = given.order.spec.model_copy(update={"dataset": Registered(id="ds_1")})
        paths = given.order.paths.model_copy(update={"dataset_sha256": sha256})
        order = given.order.model_copy(update={"spec": spec, "paths": paths})
        _, shown = made(given.model_copy(update={"order": order}))
        assert shown.spec.dataset == Registered(id="ds_1")
        (checked,) = (tmp_path / "storage").rglob("data.index")
        seen.append((checked, checked.stat().st_ino))
    assert seen[0] == seen[1]
    assert sha256 in str(seen[0][0])


def test_a_folder_is_checked_once_while_its_files_stay_as_they_are(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", {"cats": 5, "dogs": 5})
    other = image_folder(tmp_path / "other", {"cats": 5, "dogs": 5})
    storage = tmp_path / "storage"

    def indices_after(name: str, which: Path) -> set[tuple[str, int]]:
        made(task(storage / name, which))
        return {(each.parent.name, each.stat().st_ino) for each in storage.rglob("data.index")}

    time.sleep(0.2)  # younger files are not trusted to stay
    first = indices_after("task_1", folder)
    assert indices_after("task_2", folder) == first
    assert len(first) == 1
    both = indices_after("task_3", other)
    assert both > first
    write(folder / "cats" / "new.png", (folder / "cats" / "0.png").read_bytes())
    now = time.time() + 60
    os.utime(folder / "cats" / "new.png", (now, now))
    left = indices_after("task_4", folder)
    assert {name for name, _ in left} - {name for name, _ in both} == {"task_4.scratch"}


def test_a_file_that_changes_meanwhile_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINYARD_CACHE_BYTES", "0")
    folder = image_folder(tmp_path / "set", {"cats": 5, "dogs": 5})
    given = task(tmp_path / "run", folder, count=64)
    loaded = data.load(given.order)
    for file in folder.rglob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(RunFailure, match=r"(cats|dogs)/\d\.png has changed since"):
        preview.look(loaded, augment.compile(given.order.spec), np.arange(3), 1, 0)


def test_names_in_any_script_are_whole_in_the_document_and_readable_in_the_grid(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", {"café": 4, "犬": 4, "кот": 4})
    picture, shown = made(task(tmp_path / "run", folder, count=3))
    assert [each.label for each in shown.originals] == ["café", "кот", "犬"]
    assert picture.startswith(b"\x89PNG")


@pytest.mark.parametrize(("height", "width", "count"), [(1, 1, 64), (1, 4096, 10), (4096, 1, 10), (2048, 2048, 1)])
def test_sizes_at_the_bounds_make_a_picture_of_bounded_size(
    tmp_path: Path, height: int, width: int, count: int
) -> None:
    given = task(tmp_path, augment=[{"kind": "resize", "size": [height, width]}], count=count)
    picture, shown = made(given)
    assert pixels(shown.images[0].png).shape == (height, width, 3)
    grid = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    assert grid.size // 3 <= 2 * 2**23


EXAMPLES = [pytest.param(example, id=f"{kind}-{number}") for kind, cls in kinds(Augment).items() for number, example in enumerate(cls.examples)]  # fmt: skip  # noqa: E501


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_of_the_catalog_makes_a_preview_of_photographs(
    tmp_path: Path, photographs: Path, example: dict[str, Any]
) -> None:
    picture, shown = made(task(tmp_path, photographs, augment=[example], count=4, epochs=2))
    assert len(shown.images) == 8
    assert picture.startswith(b"\x89PNG")


@pytest.mark.parametrize("example", [each for each in EXAMPLES if "padding" not in each.values[0]])
def test_every_example_of_the_catalog_makes_a_preview_of_digits(tmp_path: Path, example: dict[str, Any]) -> None:
    """But for a crop that is larger than 8x8 digits, which the contract refuses."""
    _, shown = made(task(tmp_path, augment=[example], count=4))
    assert len(shown.images) == 4


def test_nothing_of_it_loads_torch() -> None:
    program = "import sys, worker.training.preview; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_document_is_json_that_any_program_reads(tmp_path: Path) -> None:
    given = task(tmp_path, augment=LIST, count=1)
    files = preview.make(given, tmp_path)
    read = json.loads((tmp_path / files.document.sha256).read_bytes())
    assert set(read) == {"spec", "images", "originals", "refused", "refused_count"}
