"""timm and torchvision work beside any torch, in any process, in any order of imports."""

import subprocess
import sys
from pathlib import Path

import torch

from app.contract.models import timm_names
from worker.training import libraries, names

TRAINING = Path(__file__).parents[3] / "worker" / "training"


def test_a_fresh_process_builds_a_timm_network_and_uses_torchvision():
    code = (
        "from worker.training.libraries import timm, torchvision; import torch;"
        "from torchvision.transforms import v2;"
        "network = timm.create_model('test_resnet', num_classes=2).eval();"
        "print(tuple(network(v2.Resize((64, 64))(torch.zeros(1, 3, 80, 80))).shape))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "(1, 2)"), done.stderr


def test_preparing_twice_changes_nothing():
    before = torch.ops.torchvision.nms
    libraries.prepare()
    assert torch.ops.torchvision.nms is before


def test_nobody_imports_timm_or_torchvision_past_the_preparation():
    sources = [path for path in TRAINING.rglob("*.py") if path.name != "libraries.py"]
    assert len(sources) > 30, "the guard has gone blind"
    starts = ("import timm", "from timm", "import torchvision", "from torchvision")
    offenders = [
        f"{path.name}: {line}"
        for path in sources
        for line in path.read_text("utf-8").splitlines()
        if line.strip().startswith(starts)
    ]
    assert offenders == []


def test_the_names_that_the_service_knows_are_those_of_the_pinned_timm():
    assert timm_names() == set(names.known())
    assert len(timm_names()) > 3_000
