"""A whole run of the trainer: the table of contents of training with TensorFlow."""

import logging
from pathlib import Path
from typing import Any

import keras

from app.contract.events import DataRead, Noted, Phase, PhaseBegun, Planned
from app.contract.faults import Point, reach
from app.contract.work import RunOrder
from worker.tensorflow import architecture, checkpoints, devices, files, material, networks, phase
from worker.tensorflow.phase import Work
from worker.tensorflow.planning import make_plan
from worker.tensorflow.site import Site
from worker.training import notes, peaks, reference, skipped
from worker.training.board import Board
from worker.training.events import Reporter
from worker.training.saver import Saver

log = logging.getLogger(__name__)


def run(order: RunOrder, board: Board, reporter: Reporter, resumed: Path | None) -> None:
    """Train every network of the order, from the beginning or from a checkpoint, and leave them as files.

    Raises `RunFailure`, or `StopRun` when it was asked to stop and saved.
    """
    run_dir = Path(order.paths.run_dir)
    strategy = devices.connect(order)
    devices.set_precision(order.spec.training.precision, order.device_kind)
    reporter.send(Planned, plan=make_plan(order))
    fed = material.prepare(order, devices.processors(), notes.to(reporter))
    site = Site(order, run_dir, strategy, board, reporter, fed, Saver(run_dir, reporter))
    _tell_data(site)
    begun, begun_at = _begun(site, resumed)
    try:
        for name in site.phases[site.phases.index(begun) :]:
            reporter.send(PhaseBegun, phase=name)
            devices.begin_peak(order.device_kind)
            work = phase.train(site, name, resumed if name == begun else None)
            reach(Point.TRAINED_BEFORE_EXPORT)
            if work.position.step > (begun_at if name == begun else 0):
                peaks.keep(run_dir, name, devices.peak_bytes(order.device_kind))
            _export(site, name, work)
    finally:
        fed.close()
        site.saver.close()


def _begun(site: Site, resumed: Path | None) -> tuple[Phase, int]:
    """The phase to begin or to go on with, and after which step; finished ones are not repeated."""
    if resumed is None:
        return site.phases[0], 0
    position = checkpoints.load(resumed).position
    site.fetch_carried(resumed)
    message = f"Going on from {resumed.name}: {position.phase}, epoch {position.epoch}, step {position.step}."
    log.info(message)
    site.reporter.send(Noted, level="info", code="resumed", message=message, data={"step": position.step})
    return position.phase, position.step


def _export(site: Site, name: Phase, work: Work) -> None:
    """Write the network that a phase ended with, and what it answers to some validation images."""
    loaded, scaling = site.material.loaded, site.material.scaling
    card = files.card_of(work.described, site.order, loaded.classes, scaling, loaded.sha256)
    card = card.model_copy(update={"trained": work.trained})
    files.export(work.weights, card, site.artifacts, files.BASELINE if name == "baseline" else files.MODEL)
    if name == "training":
        images_NHWC = site.material.some_validation_images()
        reference.write(site.run_dir, images_NHWC, _answers(work, images_NHWC))


def _answers(work: Work, images_NHWC: Any) -> Any:
    """The logits of the trained network, in the type of its weights, as its files are to answer."""
    model = work.compiled.model
    if keras.config.dtype_policy().name.startswith("mixed"):
        keras.config.set_dtype_policy(devices.weights_type())
        model = architecture.assemble(work.described)
        architecture.set_weights(model, work.weights)
    return networks.answers(model, work.site.material.scaling, images_NHWC)


def _tell_data(site: Site) -> None:
    loaded = site.material.loaded
    counts = {"train_images": len(loaded.train), "validation_images": len(loaded.validation)}
    site.reporter.send(DataRead, dataset_sha256=loaded.sha256, **counts)
    skipped.tell(site.reporter, loaded)
