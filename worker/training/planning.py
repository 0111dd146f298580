"""What a job will do, found in seconds and without a device: `python -m worker.training.planning ORDER.json OUT.json`.

Networks are built without memory where they start from random weights, and run without arithmetic: see `shapes`.
"""

import sys
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from app.contract.distributed import passes, synchronises
from app.contract.job import JobSpec
from app.contract.plan import Computing, Plan
from app.contract.work import RunOrder
from worker.training import (
    answers,
    architecture,
    causes,
    compiling,
    cost,
    crops,
    data,
    earlier,
    expected_memory,
    formats,
    models,
    shapes,
    sharing,
)
from worker.training.compressing import outcomes
from worker.training.errors import bad_spec
from worker.training.plan_steps import Steps, average_warnings, cost_warnings, layer_warnings, map_warnings
from worker.training.precision import expected, refuse_unsupported


def make_plan(order: RunOrder) -> Plan:
    """The plan of a job. Raises RunFailure, with pointers into the spec, when the job could not run."""
    spec = order.spec
    refuse_unsupported(spec.training.precision, order.device_kind)
    outline = data.outline(order)
    earlier.check(order, outline)
    earlier.check_whole(order)
    crop_warnings = list(crops.problems(order, outline))
    network = models.sketch(order, outline.classes)
    channels = architecture.of(network).channels
    _refuse_other_outputs(network, channels, spec, len(outline.classes))
    before = cost.network_cost(network, channels, spec.image_size)
    notes: list[str] = []
    compressed = partial(
        outcomes, network, spec.compression, spec.image_size, channels, spec.training.seed, notes.append
    )
    steps = Steps(outline.train_images, spec.training.batch_size, order.processes, passes(spec.distributed))
    computing = _computing(order, steps.count)
    begun = compressed("before training")
    memory_bytes = expected_memory.of_training(network, order, outline.classes, steps.largest_share)
    ended = compressed("during training")
    applied = [each for _, each in sorted({each.index: each for each in (*begun, *ended)}.items())]
    layers = [change for outcome in applied for change in outcome.layers]
    after = cost.network_cost(network, channels, spec.image_size)
    _refuse_single_values(network, channels, spec, steps)
    sharing.refuse_undividable(network, spec)
    teacher = expected_memory.of_teacher(order, outline.classes, channels, steps.largest_share)
    return Plan(
        before=before,
        after=after,
        layers=layers,
        methods=[outcome.effect for outcome in applied],
        classes=list(outline.classes),
        train_images=outline.train_images,
        validation_images=outline.validation_images,
        image_size=spec.image_size,
        steps_per_epoch=steps.count,
        processes=steps.processes,
        passes_per_step=steps.passes,
        images_per_pass=steps.largest_share,
        memory_bytes=memory_bytes + (teacher.memory_bytes if teacher else 0),
        teacher=teacher,
        computing=computing,
        warnings=[
            *crop_warnings,
            *earlier.split_warnings(order, outline),
            *steps.warnings(),
            *average_warnings(spec, steps.count),
            *layer_warnings(spec, layers, models.starts_from_weights(order)),
            *notes,
            *cost_warnings(before, after),
            *sharing.warnings(network, order),
            *map_warnings(spec, _map_sides(network, channels, spec)),
            *formats.refuse_impossible(spec, after.weights_bytes, outline.train_images),
        ],
    )


def _computing(order: RunOrder, steps_per_epoch: int) -> Computing:
    """Raises `bad_spec` when what was asked for cannot be done on this worker."""
    choice = compiling.choose(order.spec, order.device_kind, steps_per_epoch)
    precision = expected(order.spec.training.precision, order.device_kind)
    return Computing(precision=precision, compiled=choice.compiled, reason=choice.reason)


def _refuse_other_outputs(network: nn.Module, channels: int, spec: JobSpec, classes: int) -> None:
    """The network must answer one row of scores for each image, in training mode too (some give two heads there)."""
    for training in (False, True):
        try:
            scores = shapes.forward(network.train(training), channels, spec.image_size, images=2)
        except Exception as error:
            raise bad_spec("/model/name", shapes.does_not_run(spec.image_size, error), "image_does_not_fit") from error
        if not isinstance(scores, Tensor) or scores.shape != (2, classes):
            detail = "The network does not answer one score for each class: use another model."
            raise bad_spec("/model/name", detail, "not_a_classifier")


def _refuse_single_values(network: nn.Module, channels: int, spec: JobSpec, steps: Steps) -> None:
    """Batch normalisation cannot train on one value a channel: one image whose feature map is 1x1."""
    images, synchronised = steps.smallest_share, synchronises(spec.distributed)
    try:
        shapes.forward(network.train(), channels, spec.image_size, images * steps.processes if synchronised else images)
    except Exception as error:
        other = "" if synchronised or steps.processes == 1 else ", or sync_batchnorm"
        detail = (
            f"A process would train on {images} image at a time, and that is not enough for this network "
            f"({str(error)[:200]}): use a batch_size of at least {2 * steps.processes * steps.passes}{other}."
        )
        raise bad_spec("/training/batch_size", detail, "too_small") from error


def _map_sides(network: nn.Module, channels: int, spec: JobSpec) -> list[int]:
    """The longer side of what each convolution with a kernel larger than 1x1 reads."""
    sides: list[int] = []
    handles = [
        module.register_forward_pre_hook(lambda _, args: sides.append(max(args[0].shape[-2:])))
        for module in network.modules()
        if isinstance(module, nn.Conv2d) and max(module.kernel_size) > 1
    ]
    try:
        shapes.forward(network.eval(), channels, spec.image_size)
    finally:
        for handle in handles:
            handle.remove()
    return sides


def main(arguments: list[str]) -> int:
    """Write the Plan, or the Failure and exit with 1. The bounded child of a dry run."""
    if len(arguments) != 2:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    order, out = Path(arguments[0]), Path(arguments[1])
    return answers.give(out, lambda: make_plan(RunOrder.model_validate_json(order.read_bytes())), causes.explain)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
