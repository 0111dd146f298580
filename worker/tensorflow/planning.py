"""What a job will do, found without training it: `python -m worker.tensorflow.planning ORDER.json OUT.json`."""

import sys
from math import prod
from pathlib import Path
from typing import Any, Literal

from app.contract.distributed import synchronises
from app.contract.job import JobSpec
from app.contract.models import comes_with_weights
from app.contract.plan import Computing, NetworkCost, Plan
from app.contract.training import Training
from app.contract.work import RunOrder
from worker.tensorflow import library
from worker.training import answers, causes, crops, data, plan_steps, splits
from worker.training.errors import bad_spec
from worker.training.moments import moments

NO_TORCH = "Steps are graphs of TensorFlow: torch.compile has no part in them."


def make_plan(order: RunOrder) -> Plan:
    """The plan of a job. Raises RunFailure, with pointers into the spec, when the job could not run."""
    from worker.tensorflow import cost, files, networks

    spec = order.spec
    outline = data.outline(order)
    crop_warnings = list(crops.problems(order, outline))
    compressed = networks.begin(order, outline.classes, "training")
    before, after = cost.network_cost(compressed.before), cost.network_cost(compressed.model)
    steps = plan_steps.Steps(outline.train_images, spec.training.batch_size, order.processes)
    _refuse_single_values(compressed.model, spec, steps)
    layers = [change for outcome in compressed.outcomes for change in outcome.layers]
    return Plan(
        before=before,
        after=after,
        layers=layers,
        methods=[outcome.effect for outcome in compressed.outcomes],
        classes=list(outline.classes),
        train_images=outline.train_images,
        validation_images=outline.validation_images,
        image_size=spec.image_size,
        steps_per_epoch=steps.count,
        processes=steps.processes,
        images_per_pass=steps.largest_share,
        memory_bytes=_memory_bytes(compressed.model, after, spec.training, spec.training.batch_size),
        computing=Computing(precision=_precision(order), compiled=False, reason=NO_TORCH),
        warnings=[
            *crop_warnings,
            *splits.warnings(order, outline, lambda folder: files.read_card(folder).dataset_sha256),
            *steps.warnings(),
            *plan_steps.average_warnings(spec, steps.count),
            *plan_steps.layer_warnings(spec, layers, comes_with_weights(spec.model)),
            *plan_steps.cost_warnings(before, after),
            *plan_steps.map_warnings(spec, _map_sides(compressed.model)),
        ],
    )


def _refuse_single_values(model: Any, spec: JobSpec, steps: plan_steps.Steps) -> None:
    """Batch normalisation learns nothing from one value a channel, of one image whose map is 1x1."""
    from worker.tensorflow.norm import BatchNorm

    synchronised = synchronises(spec.distributed)
    images = steps.smallest_share * (steps.processes if synchronised else 1)
    norms = (each for each in model.layers if isinstance(each, BatchNorm))
    alone = [each.name for each in norms if images * prod(each.input.shape[1:-1]) == 1]
    if alone:
        other = "" if synchronised or steps.processes == 1 else ", or sync_batchnorm"
        detail = (
            f"A device would train on {images} image at a time, and that is not enough for this network ({alone[0]} "
            f"normalises one value a channel): use a batch_size of at least {2 * steps.processes}{other}."
        )
        raise bad_spec("/training/batch_size", detail, "too_small")


def _map_sides(model: Any) -> list[int]:
    """The longer side of what each convolution with a kernel larger than 1x1 reads."""
    spatial = (each for each in model.layers if max(getattr(each, "kernel_size", (1,))) > 1)
    return [max(each.input.shape[1:-1]) for each in spatial]


def _prepare(order: RunOrder) -> None:
    from worker.tensorflow import devices

    devices.set_precision(order.spec.training.precision, order.device_kind)


def _precision(order: RunOrder) -> Literal["fp64", "fp32", "bf16", "fp16"]:
    name = order.spec.training.precision
    if name == "auto":
        return "bf16" if order.device_kind == "cuda" else "fp32"
    return name


def _memory_bytes(model: Any, after: NetworkCost, training: Training, images: int) -> int:
    """An estimate for all devices of the process together, images of a batch being divided among them.

    Weights, their average, gradients and moments, and each layer's output of the whole batch, which the backward pass
    reads.
    """
    width = 8 if training.precision == "fp64" else 4
    copies = 2 + moments(training) + (training.ema is not None)
    activations = sum(_outputs(layer) for layer in model.layers)
    return int(after.weights_bytes / 4 * width * copies + activations * width * images)


def _outputs(layer: Any) -> int:
    count = 1
    for side in layer.output.shape[1:]:
        count *= side
    return count


def main(arguments: list[str]) -> int:
    """Write the Plan, or the Failure and exit with 1. The bounded child of a dry run."""
    if len(arguments) != 2:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    order, out = Path(arguments[0]), Path(arguments[1])
    return answers.give(out, lambda: _loaded_plan(order), causes.explain)


def _loaded_plan(file: Path) -> Plan:
    order = RunOrder.model_validate_json(file.read_bytes())
    library.load()
    _prepare(order)
    return make_plan(order)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
