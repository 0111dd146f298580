"""A small network that was really trained, on handwritten digits, and the folder that its run would have left."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from app.contract.job import JobSpec
from app.contract.work import Paths, RunOrder
from worker.training import augment, data, formats, normalization, reference
from worker.training.card import Scaling, read_card
from worker.training.export import card_of, export, rebuild
from worker.training.models import build_model

SPEC = {
    "dataset": {"kind": "builtin", "name": "digits"},
    "model": {"kind": "timm", "name": "test_resnet", "channels": 1},
    "compression": [{"kind": "quantization", "calibration_images": 128}],
}


@dataclass(frozen=True)
class Trained:
    """Of a job that has trained, and measured nothing yet."""

    run_dir: Path
    order: RunOrder
    images_NHWC: np.ndarray
    labels_N: np.ndarray

    @property
    def folder(self):
        return self.run_dir / "artifacts"

    def network(self):
        return rebuild(self.folder)[0]

    @property
    def card(self):
        return read_card(self.folder)


@pytest.fixture(scope="package")
def trained(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("trained")
    order = RunOrder(spec=JobSpec.model_validate(SPEC).resolved(), paths=Paths(run_dir=str(run_dir)), job="job_1")
    loaded, pipeline = data.load(order), augment.compile(order.spec)
    scaling = normalization.fit(loaded.train, pipeline)
    network = build_model(order, loaded.classes)
    teach(network, scaling, shown(pipeline, loaded.train), torch.from_numpy(loaded.train.labels_N))
    card = card_of(network, order, loaded.classes, Scaling(mean=scaling.mean, std=scaling.std), loaded.sha256)
    export(network, card, run_dir / "artifacts")
    images = shown(pipeline, loaded.validation)
    reference.keep(run_dir, network, scaling, images[reference.chosen(len(images))])
    return Trained(run_dir, order, images.numpy(), loaded.validation.labels_N)


@pytest.fixture(scope="package")
def onnx_file(trained):
    path = trained.folder / "model.onnx"
    formats.write(trained.network(), trained.card, "onnx", path)
    return path


def shown(pipeline, images):
    """As evaluation shows them."""
    return torch.from_numpy(pipeline.evaluate_NHWC([images.read(index) for index in range(len(images))]))


def teach(network, scaling, images_NHWC, labels_N, epochs=4):
    optimizer = torch.optim.AdamW(network.parameters(), 0.003)
    generator = torch.Generator().manual_seed(0)
    network.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(images_NHWC), generator=generator)[:1408].split(64):
            logits = network(normalization.apply(images_NHWC[chosen], scaling, torch.float32))
            optimizer.zero_grad()
            F.cross_entropy(logits, labels_N[chosen]).backward()
            optimizer.step()
    network.eval()
