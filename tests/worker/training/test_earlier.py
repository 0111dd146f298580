"""`baseline: job`: what the earlier network must have in common with this job, and runs that are judged beside it."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.contract.events import Failed, PhaseBegun, Succeeded
from app.contract.failures import FailureCode
from app.contract.job import JobSpec
from app.contract.work import Paths, RunOrder, Split
from tests.training_runs import WarmParent
from worker.training import data, earlier, measure, reference
from worker.training.card import Scaling
from worker.training.errors import RunFailure
from worker.training.export import card_of, export
from worker.training.networks import begin
from worker.training.normalization import Normalization
from worker.training.planning import make_plan

pytestmark = pytest.mark.timeout(600)  # several runs in a test, and the machine may be busy

SPEC: dict[str, Any] = {
    "dataset": {"kind": "builtin", "name": "digits"},
    "model": {"kind": "timm", "name": "test_resnet", "channels": 1},
    "augment": [{"kind": "resize", "size": [16, 16]}],
    "training": {"epochs": 1, "batch_size": 256},
}
TO_EARLIER = {"baseline": {"kind": "job", "job": "job_earlier"}}
SCALING = Scaling(mean=(0.0,), std=(1.0,))


def an_order(folder: Path, split: Split | None = None, **changes: Any) -> RunOrder:
    paths = Paths(run_dir=str(folder / "run"), baseline=str(folder / "earlier"))
    spec = JobSpec.model_validate(SPEC | TO_EARLIER | changes).resolved()
    return RunOrder(spec=spec, paths=paths, baseline_split=split or Split(seed=0, validation_fraction=0.2))


@pytest.fixture
def order(tmp_path: Path) -> RunOrder:
    """Of a job that is compared with the network in `earlier`."""
    made = an_order(tmp_path)
    loaded = data.load(made)
    network = begin(made, loaded.classes, "training").network
    export(network, card_of(network, made, loaded.classes, SCALING, loaded.sha256), tmp_path / "earlier")
    return made


def rewrite(folder: Path, **changes: Any) -> None:
    path = folder / "earlier" / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(order: RunOrder, found: Any) -> str:
    with pytest.raises(RunFailure) as caught:
        earlier.check(order, found)
    (problem,) = caught.value.failure.errors
    assert (caught.value.failure.code, problem.pointer) == (FailureCode.BAD_SPEC, "/baseline/job")
    assert problem.detail.endswith((".", "again."))
    return problem.code


def test_a_network_on_the_same_data_is_taken(order: RunOrder) -> None:
    earlier.check(order, data.load(order))
    earlier.check(order, data.outline(order))
    assert make_plan(order).before.parameters > 0


def test_other_data_other_classes_and_other_images_do_not_compare(order: RunOrder, tmp_path: Path) -> None:
    loaded = data.load(order)
    card = json.loads((tmp_path / "earlier" / "model.json").read_text())
    rewrite(tmp_path, dataset_sha256="b" * 64)
    assert refused(order, loaded) == "other_data"
    rewrite(tmp_path, dataset_sha256=None)
    earlier.check(order, loaded)  # of a version that did not say
    rewrite(tmp_path, classes=card["classes"][::-1])
    assert refused(order, data.outline(order)) == "other_classes"
    rewrite(tmp_path, classes=[*card["classes"][:-1], "<b>ten</b>"])
    assert refused(order, data.outline(order)) == "other_classes"
    rewrite(tmp_path, classes=card["classes"], image_size=[24, 24])
    assert refused(order, data.outline(order)) == "other_image_size"
    rewrite(tmp_path, image_size=[16, 16], channels=3, architecture=card["architecture"] | {"channels": 3})
    assert refused(order, data.outline(order)) == "other_channels"


@pytest.mark.parametrize("split", [Split(seed=1, validation_fraction=0.2), Split(seed=0, validation_fraction=0.1)])
def test_one_that_was_trained_on_what_is_now_held_out_does_not_compare(
    order: RunOrder, tmp_path: Path, split: Split
) -> None:
    assert refused(an_order(tmp_path, split), data.outline(order)) == "other_split"


@pytest.mark.parametrize(
    ("place", "changes"),
    [
        ("model", {"model": {"kind": "checkpoint", "job": "job_earlier"}}),
        ("teacher", {"compression": [{"kind": "distillation", "job": "job_earlier"}]}),
    ],
)
def test_a_network_that_may_have_trained_on_what_is_now_held_out_brings_a_warning(
    order: RunOrder, tmp_path: Path, place: str, changes: dict[str, Any]
) -> None:
    def warnings(split: Split, dataset_sha256: str | None = None) -> list[str]:
        paths = Paths(run_dir="x", dataset_sha256=dataset_sha256, **{place: str(tmp_path / "earlier")})
        spec = JobSpec.model_validate(SPEC | changes).resolved()
        made = RunOrder.model_validate({"spec": spec, "paths": paths, f"{place}_split": split})
        return [each for each in make_plan(made).warnings if "held out other images" in each]

    other, same = Split(seed=1, validation_fraction=0.2), Split(seed=0, validation_fraction=0.2)
    (told,) = warnings(other)
    assert "training.seed 1" in told
    assert warnings(same) == []
    assert warnings(other, dataset_sha256="b" * 64) == [], "it is known to be other data"


def test_damaged_files_are_found_before_anything_is_trained(order: RunOrder, tmp_path: Path) -> None:
    with (tmp_path / "earlier" / "model.safetensors").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(RunFailure) as caught:
        make_plan(order)
    assert caught.value.failure.errors[0].code == "model_broken"
    shutil.rmtree(tmp_path / "earlier")
    assert refused(order, data.outline(order)) == "model_broken"
    assert refused(order.model_copy(update={"paths": Paths(run_dir="x")}), data.outline(order)) == "model_missing"


def test_without_such_a_baseline_nothing_is_looked_at(tmp_path: Path) -> None:
    order = RunOrder(spec=JobSpec.model_validate(SPEC), paths=Paths(run_dir=str(tmp_path)))
    earlier.check(order, data.outline(order))
    earlier.check_whole(order)


def test_before_is_the_earlier_network_measured_on_the_same_images(order: RunOrder, tmp_path: Path) -> None:
    narrower = an_order(tmp_path, compression=[{"kind": "depthwise_separable"}])
    loaded = data.load(narrower)
    network = begin(narrower, loaded.classes, "training").network
    card = card_of(network, narrower, loaded.classes, SCALING, loaded.sha256)
    export(network, card, tmp_path / "run" / measure.ARTIFACTS)
    shown = torch.from_numpy(np.stack([loaded.validation.read(0)] * 2))
    reference.keep(tmp_path / "run", network, Normalization(SCALING.mean, SCALING.std), shown)
    report = measure.measured(narrower)
    assert report.before.file_bytes == (tmp_path / "earlier/model.safetensors").stat().st_size
    assert report.before.accuracy is not None
    assert report.accuracy_drop == report.before.accuracy - report.after.accuracy
    assert report.ratios.parameters > 1
    assert [each.name for each in report.stages] == ["baseline", "uncompressed", "depthwise_separable"]
    assert report.stages[0].accuracy == report.before.accuracy
    assert report.stages[1].accuracy is None


def test_a_run_that_misses_a_gate_fails_with_all_its_files_and_a_retry_measures_again(
    warm: WarmParent, tmp_path: Path
) -> None:
    spec = SPEC | {"gates": {"max_parameters": 1, "max_bytes": 10**9}}
    first = warm.run(spec, tmp_path / "1")
    last = first.events[-1]
    assert first.exit_code == 1
    assert isinstance(last, Failed)
    assert last.failure.code is FailureCode.GATE_MISSED
    assert last.failure.message.startswith("1 of 2 gates missed: max_parameters: ")
    assert last.report is not None
    assert {each.gate: each.passed for each in last.report.gates} == {"max_parameters": False, "max_bytes": True}
    assert {each.name for each in last.artifacts} >= {"model.safetensors", "model.json", "report.json"}
    written = json.loads((tmp_path / "1/artifacts/report.json").read_text())
    assert written == last.report.model_dump(mode="json")

    again = warm.run(spec | {"gates": {"max_parameters": 10**9}}, tmp_path / "2", resume=first.newest_checkpoint)
    assert isinstance(again.events[-1], Succeeded)
    peaks = [each.report.stages[-1].peak_memory_bytes for each in (last, again.events[-1])]
    assert peaks[0]
    assert peaks[1] is None, "loading what was trained takes less memory, and says nothing of training"
    assert again.metric("train/loss") == {}, "nothing is trained again"
    assert [each.phase for each in again.events if isinstance(each, PhaseBegun)][-1] == "measuring"
    assert again.weights == first.weights
