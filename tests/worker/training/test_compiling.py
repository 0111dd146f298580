"""When torch.compile is used, what happens where it cannot be, and what it computes."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from app.contract.distributed import Fsdp
from app.contract.job import JobSpec
from worker.training.compiling import Choice, Compiler, choose, make_room
from worker.training.errors import RunFailure
from worker.training.events import Reporter


def spec(compile: Any, epochs: int = 100, compression: Any = ()) -> JobSpec:
    body = {"dataset": {"kind": "builtin", "name": "digits"}, "model": {"kind": "timm", "name": "test_resnet"}}
    return JobSpec.model_validate(
        body | {"training": {"epochs": epochs, "compile": compile}, "compression": list(compression)}
    )


@pytest.fixture
def reporter(tmp_path: Path) -> Reporter:
    return Reporter(os.open(tmp_path / "told", os.O_CREAT | os.O_WRONLY))


def test_left_to_the_worker_it_is_used_on_a_gpu_where_it_pays() -> None:
    assert choose(spec("auto"), "cpu", 1000) == Choice(False, "It gains nothing on a CPU.")
    assert "1,900 steps" in choose(spec("auto"), "cuda", 19).reason
    hooked = spec("auto", compression=[{"kind": "checkpointing"}])
    assert "checkpointing" in choose(hooked, "cuda", 1000).reason
    assert choose(spec(False), "cuda", 1000) == Choice(False)
    shared = spec("auto").model_copy(update={"distributed": Fsdp()})
    assert "fsdp" in choose(shared, "cuda", 1000).reason


def test_without_a_compiler_it_is_refused_where_it_was_asked_for_and_left_out_where_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for kind in ("cpu", "cuda"):
        with pytest.raises(RunFailure, match=r"install .* or set compile to auto or false") as refused:
            choose(spec(True), kind, 1)
        assert refused.value.failure.errors[0].pointer == "/training/compile"
    left_out = choose(spec("auto"), "cuda", 1000)
    assert not left_out.compiled
    assert "install" in left_out.reason


def fails(_model: nn.Module) -> None:
    raise ValueError("no such operator")


def test_a_network_that_cannot_be_compiled_is_refused_or_trained_without(tmp_path: Path, reporter: Reporter) -> None:
    network = nn.Linear(2, 2)
    with pytest.raises(RunFailure, match=r"no such operator.*set compile to auto or false"):
        Compiler(Choice(True), True, reporter).compiled(network, fails)
    assert Compiler(Choice(True), False, reporter).compiled(network, fails) is network
    reporter.close()
    (told,) = (tmp_path / "told").read_text().splitlines()
    assert json.loads(told)["code"] == "not_compiled"
    assert Compiler(Choice(False), False, reporter).compiled(network, fails) is network


def test_room_is_made_by_removing_the_oldest_files(tmp_path: Path) -> None:
    for age, name in enumerate(["new", "older", "oldest"]):
        path = tmp_path / name / "kernel"
        path.parent.mkdir()
        path.write_bytes(bytes(100))
        os.utime(path, (1_000_000 - age, 1_000_000 - age))
    make_room(tmp_path, 300)
    assert len(list(tmp_path.rglob("kernel"))) == 3
    make_room(tmp_path, 150)
    assert [path.parent.name for path in tmp_path.rglob("kernel")] == ["new"]


@pytest.mark.slow
@pytest.mark.timeout(1800)  # compiling is work, and the machine may be busy
def test_a_compiled_network_has_the_gradients_of_the_network_and_its_code_is_kept(
    tmp_path: Path, reporter: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINYARD_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")  # put back at the end
    monkeypatch.setenv("TRITON_CACHE_DIR", "")
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    images, labels = torch.randn(5, 3, 8, 8), torch.arange(5) % 3

    def gradients(model: nn.Module) -> torch.Tensor:
        network.zero_grad(set_to_none=True)
        F.cross_entropy(model(images), labels).backward()
        return torch.cat([each.grad.flatten() for each in network.parameters() if each.grad is not None])

    wanted = gradients(network)
    compiled = Compiler(Choice(True), True, reporter).compiled(network, gradients)
    assert compiled is not network
    torch.testing.assert_close(gradients(compiled), wanted)
    assert {name for name, _ in network.named_parameters()} == {
        "0.weight",
        "0.bias",
        "1.weight",
        "1.bias",
        "4.weight",
        "4.bias",
    }
    assert sum(path.is_file() for path in (tmp_path / "cache/compiled").rglob("*")) > 3
