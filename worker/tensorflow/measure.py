"""`python -m worker.tensorflow.measure ORDER.json OUT.json PIPE`: the report, measured on the files of a run."""

import sys
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from platform import node
from typing import Any

import numpy as np

from app.contract.events import Phase
from app.contract.export import FILES
from app.contract.report import ExportCheck, Latency, Machine, Report
from app.contract.report import Stage as Listed
from app.contract.training import TrainBaseline
from app.contract.work import RunOrder
from worker.tensorflow import program
from worker.training import accuracy, data, gates, machine, notes, peaks, reference, turns
from worker.training.accuracy import Score
from worker.training.events import Reporter
from worker.training.measuring_files import ARTIFACTS, logits_file
from worker.training.notes import Tell, silent
from worker.training.ratios import plain, ratios
from worker.training.reference import Logits, Reference

_RUNTIMES = {"onnx": "onnxruntime", "saved_model": "tensorflow", "tflite": "tensorflow", "safetensors": "tensorflow"}


def measured(order: RunOrder, tell: Tell = silent) -> Report:
    """The report of a finished run, measured in this process. Call it in a fresh one. Raises `RunFailure`."""
    from worker.tensorflow import devices
    from worker.tensorflow.stages import stages

    devices.use_threads(machine.most_threads())
    devices.set_precision("fp64" if order.spec.training.precision == "fp64" else "fp32", "cpu")
    run_dir = Path(order.paths.run_dir)
    found = stages(order, run_dir / ARTIFACTS)
    card = found[-1].card
    assert card is not None  # the last one is the network that was trained
    checks = list(_checks(run_dir, found[-1]))
    scores = {each.name: _score(order, each) for each in found if each.card}
    latency = _latency(found)
    turns.tell_left_out(latency[found[-1].name], tell)
    listed = [_listed(order, each, found, latency[each.name], scores.get(each.name)) for each in found]
    first, last = scores.get(found[0].name), scores[found[-1].name]
    return Report(
        before=plain(listed[0]),
        after=plain(listed[-1]),
        ratios=ratios(listed[0], listed[-1]),
        accuracy_drop=None if first is None else first.accuracy - last.accuracy,
        machine=_machine(),
        verified=True,  # `_checks` refuses a file that answers otherwise
        dataset_sha256=card.dataset_sha256,
        stages=listed,
        classes=accuracy.class_changes(card.classes, first, last),
        exports=checks,
    )


def _checks(run_dir: Path, shipped: Any) -> Any:
    """Every file held against what the trained network answered. Raises `export_failed`."""
    from worker.tensorflow import files, networks

    wanted = reference.read(run_dir)
    own = networks.answers(shipped.model, shipped.card.scaling, wanted.images_NHWC)
    folder = run_dir / ARTIFACTS
    yield _check(wanted, own, "safetensors", folder / f"{files.MODEL}.safetensors")
    for name in ("onnx", "saved_model", "tflite"):
        path = folder / FILES[name]  # type: ignore[index]
        if path.exists():
            yield _check(wanted, np.load(logits_file(run_dir, path.name), allow_pickle=False), name, path)


def _check(wanted: Reference, logits_NK: Logits, name: str, path: Path) -> ExportCheck:
    far = reference.distance(wanted, logits_NK, path.name)
    reference.refuse_other(wanted, far, path.name)
    runtime = _RUNTIMES[name]
    return ExportCheck(
        format=name,  # type: ignore[arg-type]
        file=path.name,
        size_bytes=path.stat().st_size,
        max_abs_difference=far.max_abs_difference,
        top1_agreement=far.top1_agreement,
        images=far.images,
        runtime=f"{runtime} {_version(runtime)}",
    )


def _score(order: RunOrder, stage: Any) -> Score:
    from worker.tensorflow import networks
    from worker.tensorflow.arrays import InArrays
    from worker.training import augment
    from worker.training.loader import Loader

    images, classes = data.load(order).validation, len(stage.card.classes)
    right_K = np.zeros(classes, np.int64)
    pipeline = augment.compile(order.spec)
    with Loader(images, pipeline, machine.most_threads(), executor=InArrays(pipeline)) as loader:
        for batch in loader.evaluate(accuracy.batches(len(images))):
            told_N = networks.answers(stage.model, stage.card.scaling, batch.images_NHWC).argmax(1)
            right_K += np.bincount(batch.labels_N[told_N == batch.labels_N], minlength=classes)
    return Score(right_K, np.bincount(images.labels_N, minlength=classes))


def _latency(found: Sequence[Any]) -> dict[str, list[Latency]]:
    """Of each network, compiled, by size of batch; all take turns. Without a method there is but one: the last."""
    timed = found if found[-1].method else found[-1:]
    times: dict[str, list[Latency]] = {each.name: [] for each in timed}
    compiled = {each.name: _compiled(each.model) for each in timed}

    def runs(batch_size: int) -> dict[str, turns.Run]:
        return {
            each.name: partial(compiled[each.name], np.zeros((batch_size, *each.model.input_shape[1:]), np.float32))
            for each in timed
        }

    for batch_size, name, times_s in turns.by_batch_size(runs):
        times[name].append(turns.latency(batch_size, times_s, "tensorflow"))
    return {each.name: times.get(each.name, times[found[-1].name]) for each in found}


def _compiled(model: Any) -> Any:
    import tensorflow as tf

    weights = model.trainable_weights[0].dtype
    return tf.function(lambda images_NHWC: model(tf.cast(images_NHWC, weights), training=False), reduce_retracing=True)


def _listed(order: RunOrder, stage: Any, found: Sequence[Any], latency: list[Latency], score: Score | None) -> Listed:
    from worker.tensorflow import cost

    counted = cost.network_cost(stage.model)
    return Listed(
        name=stage.name,
        method=stage.method.kind if stage.method else None,
        parameters=counted.parameters,
        macs=counted.macs,
        file_bytes=stage.file_bytes,
        gzip_bytes=stage.gzip_bytes,
        latency=latency,
        peak_memory_bytes=_peak(order, stage, found),
        accuracy=score.accuracy if score else None,
        accuracy_interval=score.interval if score else None,
        trained=stage.card.trained if stage.card else None,
    )


def _peak(order: RunOrder, stage: Any, found: Sequence[Any]) -> int | None:
    """Of the phases that trained a network, which ends of the list they are."""
    known = peaks.read(Path(order.paths.run_dir))
    is_baseline = stage is found[0] and isinstance(order.spec.baseline, TrainBaseline)
    phase: Phase | None = "training" if stage is found[-1] else "baseline" if is_baseline else None
    return known.get(phase) if phase else None


def _machine() -> Machine:
    return Machine(
        host=node(),
        device="cpu",
        processor=machine.processor(),
        threads=machine.most_threads(),
        tensorflow=_version("tensorflow"),
    )


def _version(library_name: str) -> str:
    if library_name == "tensorflow":
        import tensorflow as tf

        return str(tf.__version__)
    return version(library_name)


def main(arguments: list[str]) -> int:
    """Write the Report, or tell the launcher, over its pipe, why there is none and exit with 1."""
    order, out, pipe = arguments

    def body(wanted: RunOrder, reporter: Reporter) -> None:
        report = measured(wanted, notes.to(reporter))
        report = report.model_copy(update={"gates": gates.judged(report, wanted.spec)})
        Path(out).write_text(report.model_dump_json(), encoding="utf-8")

    return program.run(order, pipe, body)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
