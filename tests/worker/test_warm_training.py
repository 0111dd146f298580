"""The training program from its warm parent: the same bits as from a fresh interpreter; no GPU is open."""

import hashlib
from pathlib import Path

import pytest

from worker.warm.parent import PAGE_BYTES

pytestmark = pytest.mark.timeout(900)

SPEC = {"distributed": {"kind": "ddp", "processes": 2}, "training": {"epochs": 1, "batch_size": 128}}


@pytest.fixture
def train(supervise, job_work):
    """Train a tiny network to its end; the SHA-256 of its weights."""

    def run(start, attempt):
        work = job_work(attempt=attempt)
        spec = type(work.order.spec).model_validate(work.order.spec.model_dump() | SPEC | {"start": start})
        order = work.order.model_copy(update={"spec": spec})
        supervisor = supervise(work.model_copy(update={"order": order}), "none", TRAINYARD_TRAINING_COMMAND="")
        assert supervisor.process.wait(timeout=600) == 0
        return hashlib.sha256((supervisor.run_dir / "artifacts/model.safetensors").read_bytes()).hexdigest()

    return run


def test_training_computes_the_same_warm_and_cold(home, door, keep, train, capfd):
    pid = keep("worker.training.warm", TRAINYARD_TRAINING_COMMAND="")
    maps = Path(f"/proc/{pid}/maps").read_text()
    files = [str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()]

    warm, cold = train("warm", 1), train("cold", 2)

    assert warm == cold
    assert capfd.readouterr().err.count("started the run warm") == 1
    assert [end["outcome"] for end in door.finishes] == ["succeeded"] * 2
    assert "libcuda.so" not in maps
    assert "libnvidia-ml" not in maps
    assert not [name for name in files if "nvidia" in name]
    assert len(list(Path(f"/proc/{pid}/task").iterdir())) == 1
    assert resident_bytes(pid) < 600 << 20  # docs/operations.md tells what a worker needs


def resident_bytes(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
