"""Plans: what a network tells before anything is trained, and every refusal with its pointer."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from app.contract.failures import Failure, FailureCode
from app.contract.job import JobSpec
from app.contract.plan import Plan
from app.contract.work import Paths, RunOrder
from tests.support.networks import exported
from worker.training import planning
from worker.training.architecture import Architecture, assemble
from worker.training.errors import RunFailure
from worker.training.planning import make_plan

DIGITS = {"kind": "builtin", "name": "digits"}
SMALL = {"kind": "timm", "name": "test_resnet"}


def order(tmp_path, dataset=None, device_kind="cpu", **fields):
    spec = JobSpec.model_validate({"dataset": dataset or DIGITS, "model": SMALL, **fields})
    folder = spec.dataset.path if spec.dataset.kind == "folder" else None
    paths = Paths(run_dir=str(tmp_path / "run"), dataset=folder)
    return RunOrder(spec=spec.resolved(), paths=paths, device_kind=device_kind)


def refusal(tmp_path, **fields):
    with pytest.raises(RunFailure) as refused:
        make_plan(order(tmp_path, **fields))
    failure = refused.value.failure
    assert failure.code is FailureCode.BAD_SPEC
    return failure.errors[0].pointer, failure.message


def folder_of(tmp_path, *sizes):
    """A data set of two classes with one image of each (height, width) in both."""
    for label in ("cat", "dog"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number, size in enumerate(sizes):
            path = tmp_path / "data" / label / f"{number}.png"
            cv2.imwrite(str(path), np.full((*size, 3), number, np.uint8))
    return {"kind": "folder", "path": str(tmp_path / "data")}


def test_the_plan_of_the_readmes_job_says_what_the_trained_networks_have(tmp_path):
    plan = make_plan(order(tmp_path, **{k: v for k, v in JobSpec.examples[1].items() if k != "dataset"}))
    with torch.device("meta"):
        dense = assemble(Architecture(name="resnet10t", channels=3, outputs=10))
    assert plan.before.parameters == sum(parameter.numel() for parameter in dense.parameters())
    saved = sum(layer.parameters_before - layer.parameters_after for layer in plan.layers)
    assert plan.after.parameters == plan.before.parameters - saved
    assert (plan.train_images, plan.validation_images, plan.image_size) == (1438, 359, (32, 32))
    assert plan.steps_per_epoch == 23
    assert plan.classes == [str(digit) for digit in range(10)]
    assert plan.memory_bytes > 4 * plan.after.weights_bytes


def test_the_plan_follows_the_cost_of_the_network_from_method_to_method(tmp_path):
    methods = [{"kind": "depthwise_separable"}, {"kind": "low_rank", "rank": 8}, {"kind": "activation_compression"}]
    plan = make_plan(order(tmp_path, model={"kind": "timm", "name": "resnet10t"}, compression=methods))
    assert [each.method for each in plan.methods] == [each["kind"] for each in methods]
    costs = [(each.parameters_before, each.macs_before) for each in plan.methods]
    assert costs[0] == (plan.before.parameters, plan.before.macs)
    after = [(each.parameters_after, each.macs_after) for each in plan.methods]
    assert after[:-1] == costs[1:]
    assert after[-1] == (plan.after.parameters, plan.after.macs)
    saved = sum(layer.macs_before - layer.macs_after for layer in plan.layers)
    assert plan.after.macs == plan.before.macs - saved


def test_a_large_network_is_planned_without_its_memory(tmp_path):
    resize = [{"kind": "resize", "size": [224, 224]}]
    plan = make_plan(order(tmp_path, model={"kind": "timm", "name": "vit_giant_patch14_224"}, augment=resize))
    assert plan.before.parameters > 1e9


def test_planning_draws_no_numbers(tmp_path):
    state = torch.get_rng_state()
    make_plan(order(tmp_path))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_network_in_which_the_image_vanishes_is_refused_with_the_way_out(tmp_path):
    pointer, message = refusal(tmp_path, model={"kind": "timm", "name": "inception_v3"})
    assert pointer == "/model/name"
    assert "32x32" in message
    assert "larger image size" in message


def test_a_method_that_fits_no_layer_is_refused_at_its_place(tmp_path):
    methods = [{"kind": "activation_compression"}, {"kind": "depthwise_separable"}]
    pointer, message = refusal(tmp_path, model={"kind": "timm", "name": "mobilenetv3_small_050"}, compression=methods)
    assert pointer == "/compression/1"
    assert "depthwise_separable fits no layer" in message


def test_fp16_on_a_cpu_is_refused(tmp_path):
    pointer, _ = refusal(tmp_path, training={"precision": "fp16"})
    assert pointer == "/training/precision"
    make_plan(order(tmp_path, training={"precision": "fp16"}, device_kind="cuda"))


def test_one_image_a_process_is_refused_where_batch_normalisation_sees_one_value(tmp_path):
    one_each = {"training": {"batch_size": 2}, "distributed": {"kind": "ddp", "processes": 2}}
    tiny = [{"kind": "resize", "size": [8, 8]}]
    pointer, message = refusal(tmp_path, model={"kind": "timm", "name": "resnet10t"}, augment=tiny, **one_each)
    assert pointer == "/training/batch_size"
    assert "at least 4" in message


def test_statistics_over_all_processes_bear_one_image_each(tmp_path):
    one_each = {"training": {"batch_size": 2}, "augment": [{"kind": "resize", "size": [8, 8]}]}
    synchronised = {"kind": "ddp", "processes": 2, "sync_batchnorm": True}
    _, message = refusal(tmp_path, distributed={"kind": "ddp", "processes": 2}, **one_each)
    assert "or sync_batchnorm" in message
    assert make_plan(order(tmp_path, distributed=synchronised, **one_each)).images_per_pass == 1


def test_the_plan_says_how_a_step_is_divided_and_its_memory_follows(tmp_path):
    def planned(**options):
        return make_plan(order(tmp_path, distributed={"kind": "ddp", "processes": 4, **options}))

    plain, cut, divided = planned(), planned(gradient_accumulation=4), planned(zero_optimizer=True)
    assert (plain.processes, plain.passes_per_step, plain.images_per_pass) == (4, 1, 16)
    assert (cut.processes, cut.passes_per_step, cut.images_per_pass) == (4, 4, 4)
    assert cut.steps_per_epoch == plain.steps_per_epoch == make_plan(order(tmp_path)).steps_per_epoch
    assert cut.memory_bytes < plain.memory_bytes
    moments = 2 * 4 * plain.after.parameters
    assert plain.memory_bytes - divided.memory_bytes == pytest.approx(moments * 3 / 4, abs=2)


def test_auto_is_planned_for_the_devices_of_the_order(tmp_path):
    auto = order(tmp_path, distributed={"kind": "ddp", "processes": "auto"})
    assert make_plan(auto.model_copy(update={"devices": [0, 1]})).processes == 2


def test_pretrained_weights_that_are_not_there_are_refused(tmp_path):
    pointer, _ = refusal(tmp_path, model={**SMALL, "pretrained": True})
    assert pointer == "/model/pretrained"


def test_a_crop_larger_than_every_image_is_refused(tmp_path):
    data = folder_of(tmp_path, (20, 30), (30, 20), (20, 20))
    pointer, message = refusal(
        tmp_path,
        dataset=data,
        augment=[{"kind": "random_flip"}, {"kind": "random_crop", "size": [32, 32], "padding": 4}],
    )
    assert pointer == "/augment/1/size"
    assert "raise padding" in message


def test_a_crop_larger_than_some_images_is_a_warning(tmp_path):
    data = folder_of(tmp_path, *[(40, 40)] * 3, *[(20, 40)] * 3)
    plan = make_plan(order(tmp_path, dataset=data, augment=[{"kind": "random_crop", "size": [32, 32]}]))
    assert any("smaller than the crop" in warning for warning in plan.warnings)


def test_a_crop_behind_a_resize_or_with_scale_needs_no_look_at_the_images(tmp_path):
    data = folder_of(tmp_path, (20, 30), (30, 20), (20, 20))
    for augment in (
        [{"kind": "resize", "size": [40, 40]}, {"kind": "random_crop", "size": [32, 32]}],
        [{"kind": "random_crop", "size": [32, 32], "scale": [0.5, 1.0]}],
    ):
        plan = make_plan(order(tmp_path, dataset=data, augment=augment))
        assert not any("crop" in warning for warning in plan.warnings)


@pytest.mark.parametrize(
    ("fields", "warning"),
    [
        ({"training": {"batch_size": 4096}}, "larger than the data"),
        ({"model": {"kind": "timm", "name": "resnet18"}}, "shrunk to 1x1"),
        ({"compression": [{"kind": "activation_compression"}]}, "leaves 1 of"),
    ],
)
def test_what_a_person_should_know_is_a_warning(tmp_path, fields, warning):
    assert any(warning in each for each in make_plan(order(tmp_path, **fields)).warnings)


def test_the_program_writes_the_plan_or_the_failure(tmp_path):
    files = [str(tmp_path / "order.json"), str(tmp_path / "out.json")]

    def plan(content, run=planning.main):
        (tmp_path / "order.json").write_text(content)
        return run(files), (tmp_path / "out.json").read_text()

    def alone(arguments):
        command = [sys.executable, "-m", "worker.training.planning", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).returncode

    code, text = plan(order(tmp_path).model_dump_json(), alone)
    assert code == 0
    assert Plan.model_validate_json(text).train_images == 1438

    code, text = plan(order(tmp_path, training={"precision": "fp16"}).model_dump_json())
    assert code == 1
    assert [each["pointer"] for each in json.loads(text)["errors"]] == ["/training/precision"]

    code, text = plan("{")
    assert code == 1
    assert Failure.model_validate_json(text).code is FailureCode.INTERNAL


def taught(tmp_path, teacher, *more, **fields):
    """An order with a teacher, whose files lie in that folder."""
    methods = [*more, {"kind": "distillation", "job": "job_teacher"}]
    plain = order(tmp_path, compression=methods, **fields)
    paths = plain.paths.model_copy(update={"teacher": str(teacher)})
    return plain.model_copy(update={"paths": paths})


def test_the_teachers_memory_and_multiplications_are_a_line_of_their_own(tmp_path):
    teacher = exported(tmp_path / "earlier" / "artifacts", "resnet10t")
    without, plan = make_plan(order(tmp_path)), make_plan(taught(tmp_path, teacher))
    with torch.device("meta"):
        network = assemble(Architecture(name="resnet10t", channels=3, outputs=10))
    assert plan.teacher.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert plan.teacher.macs > 0
    assert plan.memory_bytes == without.memory_bytes + plan.teacher.memory_bytes
    assert plan.after == without.after
    assert without.teacher is None


def test_a_teacher_that_cannot_teach_is_refused_before_a_device_is_held(tmp_path):
    teacher = exported(tmp_path / "earlier" / "artifacts", classes=tuple("abcdefghij"))
    with pytest.raises(RunFailure) as refused:
        make_plan(taught(tmp_path, teacher, {"kind": "checkpointing"}))
    assert refused.value.failure.errors[0].pointer == "/compression/1/job"


def test_the_memory_of_the_plan_follows_what_is_kept(tmp_path):
    def planned(*methods):
        return make_plan(order(tmp_path, compression=list(methods)))

    plain = planned()
    bits = [planned({"kind": "saved_activations", "bits": bits}) for bits in (2, 4, 8)]
    sizes = [each.memory_bytes for each in bits]
    assert sizes == sorted(sizes)
    assert sizes[-1] < plain.memory_bytes
    assert bits[0].after == plain.after
    assert planned({"kind": "checkpointing"}).memory_bytes < plain.memory_bytes
    assert {each.method for each in bits[0].layers} == {"saved_activations"}


def test_pruning_during_training_is_planned_to_its_end_and_its_memory_is_that_of_the_beginning(tmp_path):
    def planned(*methods):
        return make_plan(order(tmp_path, compression=methods))

    whole = planned()
    at_once = planned({"kind": "channel_pruning", "ratio": 2.0})
    in_steps = planned({"kind": "channel_pruning", "ratio": 2.0, "steps": 2})
    assert in_steps.after == at_once.after
    assert in_steps.after.macs == pytest.approx(whole.before.macs / 2, rel=0.05)
    assert at_once.memory_bytes < in_steps.memory_bytes == whole.memory_bytes
    assert {layer.name: layer.parameters_after for layer in in_steps.layers} == {
        layer.name: layer.parameters_after for layer in at_once.layers
    }


def test_methods_behind_a_pruning_in_steps_are_told_of_the_network_that_it_leaves(tmp_path):
    pruning = {"kind": "channel_pruning", "ratio": 2.0, "steps": 2}
    methods = [{"kind": "saved_activations"}, pruning, {"kind": "quantization", "mode": "qat"}]
    plan = make_plan(order(tmp_path, compression=methods))
    assert [each.method for each in plan.methods] == ["saved_activations", "channel_pruning", "quantization"]
    saved, pruned, rounded = plan.methods
    assert saved.macs_after == pruned.macs_before == plan.before.macs
    assert rounded.macs_before == rounded.macs_after == pruned.macs_after == plan.after.macs
    assert rounded.parameters_after == plan.after.parameters
    of_file = [each for each in plan.layers if each.method == "quantization"]
    assert sum(each.macs_after for each in of_file) == plan.after.macs


def test_with_fsdp_a_process_needs_its_share_and_what_is_gathered(tmp_path):
    def planned(name, kind, **training):
        model = {"kind": "timm", "name": name}
        return make_plan(order(tmp_path, model=model, training=training, distributed={"kind": kind, "processes": 4}))

    whole, shared = planned("resnet50", "ddp"), planned("resnet50", "fsdp")
    weights = 4 * whole.after.parameters
    saved = whole.memory_bytes - shared.memory_bytes
    # 7 copies of each weight, 2 of them shared gradients, become 5 of its rows; of the largest block two are gathered,
    # and thrice that is in buffers
    assert 7 * weights - weights - saved == pytest.approx(4 * 5 * 6_039_552, abs=2)
    assert not any("fsdp" in warning for warning in shared.warnings)
    # autocast keeps a copy of each weight in 16 bits until the backward pass
    halved = [planned("resnet50", kind, precision="bf16").memory_bytes for kind in ("ddp", "fsdp")]
    assert saved - (halved[0] - halved[1]) == pytest.approx(weights / 2, abs=2)
    (warning,) = (each for each in planned("vgg11", "fsdp").warnings if "fsdp" in each)
    assert "no block" in warning


def test_weights_that_are_single_numbers_cannot_be_divided(tmp_path):
    nfnet = {"kind": "timm", "name": "dm_nfnet_f0"}
    pointer, message = refusal(tmp_path, model=nfnet, distributed={"kind": "fsdp", "processes": 2})
    assert pointer == "/distributed/kind"
    assert "single numbers" in message
    assert "use ddp" in message
    make_plan(order(tmp_path, model=nfnet, distributed={"kind": "ddp", "processes": 2}))
