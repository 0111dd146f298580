"""Each format by its own runtime, in a process that loads none of our code."""

import errno
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from torch import nn

from app.contract.failures import FailureCode
from app.contract.job import JobSpec
from worker.training import architecture, formats, reference
from worker.training.architecture import Architecture, assemble, seeded
from worker.training.card import ModelCard, Scaling
from worker.training.errors import RunFailure
from worker.training.formats import operators, usage

RUNNERS = Path(formats.__file__).parent


def run_alone(runner, *arguments):
    """As the launcher does; its working folder has nothing of ours either."""
    command = [sys.executable, "-I", RUNNERS / runner, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")


def logits_of(runner, file, images, tmp_path):
    done = run_alone(runner, file, images, tmp_path / "logits.npy")
    assert done.returncode == 0, done.stderr
    return np.load(tmp_path / "logits.npy")


def sketch(name, channels, size, classes=4):
    with seeded(3, "formats"):
        fixed = size if name == "test_vit" else None
        network = assemble(Architecture(name=name, channels=channels, outputs=classes, image_size=fixed))
        network.train()(torch.randn(4, channels, *size))  # running statistics that are not the initial ones
    card = ModelCard(
        architecture=architecture.of(network),
        classes=tuple(f"class {index}" for index in range(classes)),
        channels=channels,
        image_size=size,
        normalization=Scaling(mean=(0.5, 0.4, 0.3)[:channels], std=(0.2, 0.25, 0.3)[:channels]),
    )
    return network.eval(), card


def test_onnx_answers_as_the_trained_network_in_a_process_without_our_code(trained, onnx_file, tmp_path):
    wanted = reference.read(trained.run_dir)
    found = logits_of("_run_onnx.py", onnx_file, trained.run_dir / "reference/images.npy", tmp_path)
    far = reference.distance(wanted, found, onnx_file.name)
    reference.refuse_other(wanted, far, onnx_file.name)
    assert far.images == reference.MOST_IMAGES
    assert far.top1_agreement == 1


def test_torch_export_answers_as_the_trained_network_in_a_process_without_our_code(trained, tmp_path):
    path = tmp_path / "model.pt2"
    formats.write(trained.network(), trained.card, "torch_export", path)
    with zipfile.ZipFile(path) as archive:
        assert not [each for each in archive.namelist() if str(Path.cwd()).encode() in archive.read(each)]
    wanted = reference.read(trained.run_dir)
    found = logits_of("_run_torch_export.py", path, trained.run_dir / "reference/images.npy", tmp_path)
    reference.refuse_other(wanted, reference.distance(wanted, found, path.name), path.name)


def test_a_file_is_refused_when_its_process_had_to_load_our_code(trained, onnx_file, tmp_path):
    source = (RUNNERS / "_run_onnx.py").read_text()
    cheating = tmp_path / "cheating.py"
    cheating.write_text(f"import sys; sys.path.insert(0, {str(Path.cwd())!r}); import worker\n{source}")
    images = trained.run_dir / "reference/images.npy"
    done = run_alone(cheating, onnx_file, images, tmp_path / "logits.npy")
    assert done.returncode == 1
    assert "loaded what users of the file do not have: worker" in done.stderr


def test_the_onnx_file_says_what_its_user_must_know_and_nothing_of_the_worker(trained, onnx_file):
    model = onnx.load(onnx_file)
    said = {each.key: each.value for each in model.metadata_props}
    assert json.loads(said["classes"]) == [str(digit) for digit in range(10)]
    assert (json.loads(said["image_size"]), json.loads(said["channels"])) == ([32, 32], 1)
    assert json.loads(said["normalization"]) == trained.card.normalization.model_dump(mode="json")
    assert (said["job"], said["dataset_sha256"]) == ("job_1", trained.card.dataset_sha256)
    assert [dim.dim_param or dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim] == [
        "batch", 1, 32, 32
    ]  # fmt: skip
    assert str(Path.cwd()).encode() not in onnx_file.read_bytes()
    assert b"worker.training" not in onnx_file.read_bytes()
    assert "conv1.0" in {node.name for node in model.graph.node} or "conv1" in {node.name for node in model.graph.node}


@pytest.mark.parametrize(
    ("name", "channels", "size"),
    [
        ("test_vit", 3, (32, 48)),
        pytest.param("resnet10t", 3, (32, 32), marks=pytest.mark.slow),
        pytest.param("mobilenetv3_small_050", 1, (32, 32), marks=pytest.mark.slow),
        pytest.param("convnext_atto", 3, (32, 32), marks=pytest.mark.slow),
        pytest.param("efficientnet_b0", 3, (64, 64), marks=pytest.mark.slow),
    ],
)
@pytest.mark.timeout(900)
def test_networks_of_other_families_are_expressed_in_onnx(name, channels, size, tmp_path):
    network, card = sketch(name, channels, size)
    formats.write(network, card, "onnx", tmp_path / "model.onnx")
    images = torch.randint(0, 256, (5, *size, channels), dtype=torch.uint8)
    np.save(tmp_path / "images.npy", images.numpy())
    found = logits_of("_run_onnx.py", tmp_path / "model.onnx", tmp_path / "images.npy", tmp_path)
    wanted = reference.answers(network, card.normalization, images)
    assert np.abs(found - wanted).max() <= reference.TOLERANCE * np.abs(wanted).max()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_example_beside_the_file_tells_the_class_of_a_real_image(trained, onnx_file, tmp_path, channels):
    folder, card = onnx_file.parent, trained.card
    if channels == 3:
        network, card = sketch("test_resnet", 3, (32, 32), classes=10)
        folder = tmp_path
        formats.write(network, card, "onnx", tmp_path / "model.onnx")
    else:
        network = trained.network()
    example = folder / "usage_onnx.py"
    example.write_text(usage.text(example.name, "model.onnx", card, trained.order.spec))
    assert len([line for line in example.read_text().splitlines() if line]) <= 11
    image = np.repeat(trained.images_NHWC[7], channels, axis=2)
    cv2.imwrite(str(tmp_path / "digit.png"), image)
    told = reference.answers(network, card.normalization, torch.from_numpy(image[None])).argmax()

    command = [sys.executable, "-I", example, tmp_path / "digit.png"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert done.stdout == f"{card.classes[told]}\n", done.stderr


class Odd(nn.Module):
    """Calls an operator that only this process knows."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images_NCHW):
        return torch.ops.trainyard_tests.odd(self.network(images_NCHW))


def test_what_a_format_cannot_express_is_named(tmp_path):
    @torch.library.custom_op("trainyard_tests::odd", mutates_args=())
    def odd(values: torch.Tensor) -> torch.Tensor:
        return values * 2

    odd.register_fake(torch.empty_like)
    network, card = sketch("test_resnet", 3, (32, 32))
    with pytest.raises(RunFailure, match=r"onnx cannot express the operator trainyard_tests.odd") as caught:
        formats.write(Odd(network), card, "onnx", tmp_path / "model.onnx")
    assert caught.value.failure.code is FailureCode.EXPORT_FAILED
    assert list(tmp_path.iterdir()) == []


def test_the_operator_is_found_in_the_innermost_error():
    error = RuntimeError("Failed to convert the exported program")
    error.__cause__ = ValueError("No ONNX function found for <OpOverload(op='aten._fft_r2c', overload='default')>.")
    assert operators.culprit(error) == "aten._fft_r2c"
    assert operators.culprit(RuntimeError("no operator here")) == ""


def test_answers_that_are_no_numbers_or_another_networks_are_refused(trained):
    wanted = reference.read(trained.run_dir)
    spoilt = wanted.logits_NK.copy()
    spoilt[3, 2] = np.nan
    with pytest.raises(RunFailure, match="not finite") as caught:
        reference.distance(wanted, spoilt, "model.onnx")
    assert caught.value.failure.code is FailureCode.EXPORT_FAILED
    with pytest.raises(RunFailure, match="instead of"):
        reference.distance(wanted, wanted.logits_NK[:, :5], "model.onnx")
    off = wanted.logits_NK + 0.01 * np.abs(wanted.logits_NK).max()
    with pytest.raises(RunFailure, match=r"model\.onnx does not answer as the trained network does"):
        reference.refuse_other(wanted, reference.distance(wanted, off, "model.onnx"), "model.onnx")


def test_a_network_whose_own_answers_are_no_numbers_is_refused(trained, tmp_path):
    network = trained.network()
    with torch.no_grad():
        next(network.parameters()).fill_(float("inf"))
    images = torch.from_numpy(trained.images_NHWC[:4])
    with pytest.raises(RunFailure, match="not finite") as caught:
        reference.keep(tmp_path, network, trained.card.normalization, images)
    assert caught.value.failure.code is FailureCode.DIVERGED


def test_what_a_spec_asks_for_is_what_is_made():
    spec = {"dataset": {"kind": "builtin", "name": "digits"}, "model": {"kind": "timm", "name": "test_resnet"}}
    made = [
        formats.made_files(JobSpec.model_validate({**spec, **asked}))
        for asked in ({}, {"export": ["torch_export", "onnx"]}, {"compression": [{"kind": "quantization"}]})
    ]
    assert made == [[], ["model.pt2", "model.onnx"], ["model.onnx", "model.int8.onnx"]]


def test_a_full_disk_is_no_fault_of_the_format():
    full = RuntimeError("the writer failed")
    full.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    _, card = sketch("test_resnet", 1, (32, 32))
    assert formats.failed("onnx", card, full).failure.code is FailureCode.DISK_FULL
    assert formats.failed("onnx", card, MemoryError()).failure.code is FailureCode.OUT_OF_MEMORY


def test_what_does_not_fit_into_one_file_is_refused_by_the_plan():
    spec = {"dataset": {"kind": "builtin", "name": "digits"}, "model": {"kind": "timm", "name": "test_resnet"}}
    asked = JobSpec.model_validate({**spec, "export": ["torch_export", "onnx"]})
    assert list(formats.refuse_impossible(asked, 1_000_000, 1000)) == []
    with pytest.raises(RunFailure, match="2,000,000,000 at most") as caught:
        list(formats.refuse_impossible(asked, 3_000_000_000, 1000))
    assert [each.pointer for each in caught.value.failure.errors] == ["/export/1"]
    implied = JobSpec.model_validate({**spec, "compression": [{"kind": "quantization"}]})
    with pytest.raises(RunFailure) as caught:
        list(formats.refuse_impossible(implied, 3_000_000_000, 1000))
    assert [each.pointer for each in caught.value.failure.errors] == ["/compression/0"]
    alone = JobSpec.model_validate({**spec, "export": ["torch_export"]})
    assert list(formats.refuse_impossible(alone, 3_000_000_000, 1000)) == []


def test_a_plan_warns_of_ranges_found_on_very_few_images():
    spec = {"dataset": {"kind": "builtin", "name": "digits"}, "model": {"kind": "timm", "name": "test_resnet"}}
    asked = JobSpec.model_validate({**spec, "compression": [{"kind": "quantization"}]})
    (warning,) = formats.refuse_impossible(asked, 1000, 15)
    assert "15 training images" in warning
    assert list(formats.refuse_impossible(asked, 1000, 16)) == []
