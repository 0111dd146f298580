"""What a job will do, found without training it: `python -m worker.tensorflow.planning ORDER.json OUT.json`."""

import sys
from pathlib import Path
from typing import Any

from app.contract.failures import Failure
from app.contract.plan import NetworkCost, Plan
from app.contract.training import Training
from app.contract.work import RunOrder
from worker.tensorflow import library
from worker.training import causes, crops, data, plan_steps
from worker.training.moments import moments


def make_plan(order: RunOrder) -> Plan:
    """The plan of a job. Raises RunFailure, with pointers into the spec, when the job could not run."""
    from worker.tensorflow import cost, networks

    spec = order.spec
    outline = data.outline(order)
    crop_warnings = list(crops.problems(order, outline))
    compressed = networks.begin(order, outline.classes, "training")
    before, after = cost.network_cost(compressed.before), cost.network_cost(compressed.model)
    steps = plan_steps.Steps(outline.train_images, spec.training.batch_size, spec.distributed.processes)
    return Plan(
        before=before,
        after=after,
        layers=[change for outcome in compressed.outcomes for change in outcome.layers],
        methods=[outcome.effect for outcome in compressed.outcomes],
        classes=list(outline.classes),
        train_images=outline.train_images,
        validation_images=outline.validation_images,
        image_size=spec.image_size,
        steps_per_epoch=steps.count,
        memory_bytes=_memory_bytes(compressed.model, after, spec.training, spec.training.batch_size),
        warnings=[*crop_warnings, *steps.warnings(), *plan_steps.cost_warnings(before, after)],
    )


def _prepare(order: RunOrder) -> None:
    from worker.tensorflow import devices

    devices.set_precision(order.spec.training.precision, order.device_kind)


def _memory_bytes(model: Any, after: NetworkCost, training: Training, images: int) -> int:
    """An estimate for all devices of the process together, images of a batch being divided among them.

    Weights, gradients and moments, and each layer's output of the whole batch, which the backward pass reads.
    """
    width = 8 if training.precision == "fp64" else 4
    copies = 2 + moments(training)
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
    try:
        order = RunOrder.model_validate_json(Path(arguments[0]).read_bytes())
        library.load()
        _prepare(order)
        found: Plan | Failure = make_plan(order)
    except Exception as error:  # noqa: BLE001 - whatever it is, the user is told
        found = causes.explain(error)
    path = Path(arguments[1])
    unfinished = path.with_name(f"{path.name}.tmp")
    unfinished.write_text(found.model_dump_json(), encoding="utf-8")
    unfinished.replace(path)
    return 1 if isinstance(found, Failure) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
