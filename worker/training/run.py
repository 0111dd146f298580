"""A whole run, as one rank sees it: the table of contents of training."""

import logging
from pathlib import Path

from app.contract.events import DataRead, Noted, Phase, PhaseBegun
from app.contract.faults import Point, reach
from app.contract.work import RunOrder
from worker.training import (
    allocation,
    checkpoint,
    earlier,
    export,
    memory,
    notes,
    peaks,
    phase,
    reference,
    skipped,
    whole,
)
from worker.training.board import Board
from worker.training.card import BASELINE, MODEL, Scaling
from worker.training.distributed import Ranks
from worker.training.events import Reporter
from worker.training.loop import Trainee
from worker.training.material import prepare
from worker.training.part_saver import saver_of
from worker.training.site import Site, Start

log = logging.getLogger(__name__)


def run(order: RunOrder, ranks: Ranks, board: Board, reporter: Reporter, start: Start, threads: int) -> None:
    """Train every network of the order, from the beginning or from a checkpoint, and leave them as files.

    Raises `RunFailure`, or `StopRun` when it was asked to stop and saved.
    """
    run_dir = Path(order.paths.run_dir)
    material = prepare(order, ranks, threads, notes.to(reporter))
    earlier.check(order, material.loaded)
    saver = saver_of(run_dir, reporter, ranks)
    site = Site(order, run_dir, ranks, board, reporter, material, saver, start.micro_batch)
    _tell_data(site)
    material.start()
    begun, begun_at = _begun(site, start.checkpoint)
    if site.micro_batch is None:  # a run whose steps did not fit into memory leaves all of it to them
        material.residency.open(notes.to(reporter) if ranks.rank == 0 else notes.silent)
    try:
        for name in site.phases[site.phases.index(begun) :]:
            reporter.send(PhaseBegun, phase=name)
            if name != begun:  # not on the way to a run's first step: it takes tens of milliseconds
                allocation.give_back(ranks.device)
            _train(site, name, *((start.checkpoint, begun_at) if name == begun else (None, 0)))
    finally:
        material.close()
        if saver:
            saver.close()


def _train(site: Site, name: Phase, resumed: Path | None, begun_at: int) -> None:
    """One phase. It holds nothing when it returns: no moments, averages, or buckets."""
    peaks.begin(site.ranks.device)
    trainee = phase.train(site, name, resumed)
    reach(Point.TRAINED_BEFORE_EXPORT)
    if trainee.position.step > begun_at:
        _keep_peak(site, name)
    _export(site, name, trainee)


def _begun(site: Site, resumed: Path | None) -> tuple[Phase, int]:
    """The phase to begin or to go on with, and after which step; finished ones are not repeated."""
    if resumed is None:
        return site.phases[0], 0
    position = checkpoint.load(resumed).position
    site.micro_batch = memory.smaller_of(site.micro_batch, position.micro_batch)
    site.take_over(resumed)
    message = f"Going on from {resumed.name}: {position.phase}, epoch {position.epoch}, step {position.step}."
    log.info(message)
    site.reporter.send(Noted, level="info", code="resumed", message=message, data={"step": position.step})
    return position.phase, position.step


def _keep_peak(site: Site, name: Phase) -> None:
    """Of the rank that took most: their shares of weights and images differ, and whether a job fits depends on all."""
    told = site.gather({"peak_bytes": peaks.of_training(site.ranks.device)})
    if site.ranks.rank == 0:
        peaks.keep(site.run_dir, name, max(each["peak_bytes"] for each in told))


def _export(site: Site, name: Phase, trainee: Trainee) -> None:
    """Rank 0 writes the network that it ended with; running statistics are its own (see distributed/ddp.py)."""
    network = whole.on_host(trainee.network, site.ranks)
    if network is None:
        return
    material = site.material
    scaling = Scaling(mean=tuple(material.scaling.mean), std=tuple(material.scaling.std))
    card = export.card_of(network, site.order, material.loaded.classes, scaling, material.loaded.sha256)
    is_best, averaged = trainee.best is not None, trainee.average is not None
    trained = site.trained(trainee.position, is_best=is_best, averaged=averaged)
    card = card.model_copy(update={"trained": trained})
    export.export(network, card, site.artifacts, BASELINE if name == "baseline" else MODEL)
    if name == "training":
        reference.keep(site.run_dir, network, material.scaling, material.some_validation_images())


def _tell_data(site: Site) -> None:
    loaded = site.material.loaded
    counts = {"train_images": len(loaded.train), "validation_images": len(loaded.validation)}
    site.reporter.send(DataRead, dataset_sha256=loaded.sha256, **counts)
    skipped.tell(site.reporter, loaded)
