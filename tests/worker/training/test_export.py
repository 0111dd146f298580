"""Model files: complete, rebuilt bit for bit, and refused when they are not what they claim."""

import hashlib
import json
import pickle
import struct
import subprocess
import sys

import pytest
import safetensors.torch
import torch

from app.contract.compression import ActivationCompression, DepthwiseSeparable
from worker.training import architecture
from worker.training.architecture import Architecture, assemble, seeded
from worker.training.card import BrokenModel, ModelCard, Scaling, read_card
from worker.training.compressing import compress
from worker.training.export import export, probe, rebuild

CLASSES = ("cat", "dog", "fox")
SIZE = (48, 64)
BOTH = (DepthwiseSeparable(), ActivationCompression(learned=True))


def trained(name="test_resnet", size=None, methods=BOTH):
    with seeded(1, "trained"):
        model = assemble(Architecture(name=name, channels=3, outputs=3, image_size=size))
        compress(model, methods, SIZE, 3)
        model.train()(torch.randn(4, 3, *SIZE))  # running statistics that are not the initial ones
    return model


def card_for(model, **changes):
    card = ModelCard(
        architecture=architecture.of(model),
        classes=CLASSES,
        channels=3,
        image_size=SIZE,
        normalization=Scaling(mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2)),
    )
    return card.model_copy(update=changes)


@pytest.fixture
def model():
    return trained()


@pytest.fixture
def folder(model, tmp_path):
    export(model, card_for(model), tmp_path / "artifacts")
    return tmp_path / "artifacts"


def edit(folder, change):
    path = folder / "model.json"
    card = json.loads(path.read_text())
    change(card)
    path.write_text(json.dumps(card))


def fake_weights(folder, data):
    """Weights that the card vouches for."""
    (folder / "model.safetensors").write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    edit(folder, lambda card: card["weights"].update(size_bytes=len(data), sha256=sha256))


@pytest.mark.parametrize(
    ("name", "size", "methods"),
    [
        ("test_resnet", None, BOTH),
        ("test_efficientnet", None, (ActivationCompression(), ActivationCompression())),
        ("test_vit", SIZE, ()),
    ],
)
def test_a_rebuilt_network_gives_the_same_bits(tmp_path, name, size, methods):
    model = trained(name, size, methods).eval()
    export(model, card_for(model), tmp_path)
    again, card = rebuild(tmp_path)
    images = torch.randn(3, 3, *SIZE)
    assert torch.equal(again(images), model(images))
    assert card.probe is not None
    assert probe(again, card) == card.probe.outputs


def test_another_process_rebuilds_it_from_the_two_files_alone(folder, model):
    code = (
        "import sys; from pathlib import Path; from worker.training.export import probe, rebuild;"
        "model, card = rebuild(Path(sys.argv[1])); print(probe(model, card) == card.probe.outputs, card.classes)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False)
    assert done.stdout == "True ('cat', 'dog', 'fox')\n", done.stderr


def test_the_answer_names_the_files_with_their_hashes(model, tmp_path):
    files = export(model, card_for(model), tmp_path / "artifacts", "baseline")
    assert [file.path for file in files] == ["artifacts/baseline.safetensors", "artifacts/baseline.json"]
    for file in files:
        data = (tmp_path / file.path).read_bytes()
        assert (file.size_bytes, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_fp64_networks_stay_fp64(tmp_path):
    model = trained().double().eval()
    export(model, card_for(model, dtype="float64"), tmp_path)
    again, _ = rebuild(tmp_path)
    images = torch.randn(2, 3, *SIZE, dtype=torch.float64)
    assert torch.equal(again(images), model(images))


def test_exporting_leaves_the_network_as_it_was(model, tmp_path):
    model.train().to(memory_format=torch.channels_last)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    export(model, card_for(model), tmp_path)
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_no_unfinished_file_is_left_and_a_second_export_replaces_the_first(folder, model):
    export(model, card_for(model, job="job_second"), folder)
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "model.safetensors"]
    assert rebuild(folder)[1].job == "job_second"


@pytest.mark.parametrize("kept", [0, 7, 200, -1])
def test_truncated_weights_are_refused(folder, kept):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(BrokenModel, match="cut or changed"):
        rebuild(folder)


def test_one_flipped_bit_is_found(folder):
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(BrokenModel, match="SHA-256"):
        rebuild(folder)


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps({"weights": [1, 2, 3]}),
        struct.pack("<Q", 1 << 62) + b"{}",
        struct.pack("<Q", 20) + b'{"a":{"dtype":"F32"}',
        b"",
    ],
)
def test_a_file_that_is_no_safetensors_file_is_refused(folder, data):
    fake_weights(folder, data)
    with pytest.raises(BrokenModel, match="not a safetensors file"):
        rebuild(folder)


def test_weights_of_another_shape_or_with_other_names_are_refused(folder, model):
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fake_weights(folder, safetensors.torch.save({**tensors, "fc.bias": torch.zeros(4)}))
    with pytest.raises(BrokenModel, match=r"fc\.bias has the shape \(4,\) instead of \(3,\)"):
        rebuild(folder)
    del tensors["fc.bias"]
    fake_weights(folder, safetensors.torch.save({**tensors, "extra": torch.zeros(1)}))
    with pytest.raises(BrokenModel, match=r"lacks \['fc.bias'\] and has \['extra'\]"):
        rebuild(folder)


def test_weights_that_are_no_numbers_are_refused(folder, model):
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tensors["fc.bias"][1] = float("nan")
    fake_weights(folder, safetensors.torch.save(tensors))
    with pytest.raises(BrokenModel, match=r"not finite, in fc\.bias"):
        rebuild(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda card: card.update(version=2), "version 1"),
        (lambda card: card["architecture"].update(name="../../etc/passwd"), "no model"),
        (lambda card: card["architecture"]["compression"][0].update(layers=["os.system"]), "describes no network"),
        (lambda card: card["architecture"]["compression"][0].update(layers=["fc"]), "describes no network"),
        (lambda card: card["architecture"].update(outputs=7), "3 classes for 7 outputs"),
        (lambda card: card.update(channels=1), "1 channels for a network that reads 3"),
        (lambda card: card["normalization"].update(std=[0.2, 0.0, 0.2]), "greater than 0 at 'normalization/std/1'"),
        (lambda card: card["normalization"].update(mean=["NaN"]), "finite number at 'normalization/mean/0'"),
        (lambda card: card["normalization"].update(std=[0.2, 0.2]), r"2 values of normalization\.std for 3 channels"),
        (lambda card: card.update(weights=None), "does not say which weights"),
        (lambda card: card.clear(), "not a model card"),
    ],
)
def test_a_card_that_is_wrong_is_refused(folder, change, message):
    edit(folder, change)
    with pytest.raises(BrokenModel, match=message):
        rebuild(folder)


@pytest.mark.parametrize("text", [b"", b"[]", b"\xff\xfe", b"{" * 100_000])
def test_a_card_that_is_no_card_is_refused(folder, text):
    (folder / "model.json").write_bytes(text)
    with pytest.raises(BrokenModel, match="not a model card"):
        read_card(folder)


def test_missing_files_are_named(tmp_path, folder):
    with pytest.raises(BrokenModel, match=r"model\.json cannot be read"):
        rebuild(tmp_path / "nowhere")
    (folder / "model.safetensors").unlink()
    with pytest.raises(BrokenModel, match=r"model\.safetensors cannot be read"):
        rebuild(folder)
