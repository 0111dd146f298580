"""One network, from its initial weights to its last epoch: evaluated, saved, resumed, and set back when it diverges."""

import logging
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from app.contract.events import Compressed, Noted, Phase
from app.contract.failures import FailureCode
from app.contract.faults import Point, reach
from worker.training import (
    architecture,
    checkpoint,
    compiling,
    optim,
    parts,
    pruning,
    recalibration,
    seeds,
    sharing,
    state,
    synced_batchnorm,
)
from worker.training.allocation import give_back
from worker.training.architecture import Applied
from worker.training.attached import Course, Methods
from worker.training.card import Scaling
from worker.training.checkpoint import Position, Snapshot
from worker.training.compiling import Compiler
from worker.training.compressing import attach
from worker.training.compression import Scene, scene_of
from worker.training.council import Council, Diverging, Row
from worker.training.errors import RunFailure
from worker.training.evaluation import Score, evaluate
from worker.training.finite import all_finite
from worker.training.loop import Trainee, settle, train_epoch
from worker.training.memory import MicroBatch, least_images
from worker.training.narrator import Narrator
from worker.training.networks import Beginning, begin
from worker.training.run_place import StopRun
from worker.training.site import Site
from worker.training.verdicts import Verdicts

ROLLBACK_LIMIT = 2

log = logging.getLogger(__name__)


def train(site: Site, phase: Phase, resumed: Path | None) -> Trainee:
    """Train one network to the end of its last epoch. Raises `StopRun`, saved, when all ranks agree to stop.

    Non-finite losses lead back to the last good checkpoint with half the rate, twice at most, then to `diverged`.
    """
    source, rollbacks = resumed, None
    while True:
        work = _begin(site, phase, source, rollbacks)
        try:
            return work.to_the_end()
        except Diverging as trouble:
            rollbacks = work.trainee.position.rollbacks + 1
            source = _step_back(site, phase, resumed, rollbacks, trouble)
        del work  # what it holds would stay beside its successor's
        give_back(site.ranks.device)


@dataclass
class Work:
    """The training of one network under way."""

    site: Site
    trainee: Trainee
    council: Council
    narrator: Narrator
    verdicts: Verdicts

    def to_the_end(self) -> Trainee:
        """All epochs that are left."""
        while not self.verdicts.is_over(self.trainee.position):
            self._epoch()
        self.trainee.finish()
        return self.trainee

    def _epoch(self) -> None:
        self._prune()
        position, material = self.trainee.position, self.site.material
        self.narrator.restart_clock()
        self.council.restart_clock()
        shares = material.shares(position.epoch, position.batch)
        for decision in train_epoch(self.trainee, shares, self.site.ranks, self.council, self._step_made):
            stop = self.council.settle(position.step).stop or decision.stop
            self._save(None, stop=stop)
        stop = self.council.settle(position.step).stop
        with self.trainee.shown():
            network, ranks, trained = self.trainee.network, self.site.ranks, self.trainee.micro_batch.largest_piece
            batches, company = material.validation_batches(trained), material.validation_company(trained)
            score = evaluate(network, batches, ranks, material.precision, self.site.tick, company)
        self._close_epoch(score)
        self._save(score, stop=stop)

    def _prune(self) -> None:
        """Make the step of pruning that is due now, if any: the network goes on as if it had been loaded so."""
        site, trainee = self.site, self.trainee
        step = pruning.due(site.order.spec, trainee.position)
        if step is None:
            return
        tensors = state.tensors(trainee)
        trainee.methods.detach()
        whole = begin(site.order, site.material.loaded.classes, trainee.position.phase).network
        pruned = pruning.prune(trainee.network, whole, step, site)
        tensors = pruned.cut(tensors, trainee.network, trainee.optimizer)
        trainee.position.prunings, trainee.position.best = step.number, None
        self.trainee, _ = _as_saved(site, trainee.position, tensors, pruned.applied)

    def _step_made(self, step: int, rate: float, images: int) -> None:
        self.site.tick()
        self.narrator.step_made(step, rate, images, self.site.material.training.waited_s)

    def _close_epoch(self, score: Score) -> None:
        position = self.trainee.position
        position.epoch, position.batch = position.epoch + 1, 0
        self.narrator.epoch_ended(position.epoch, position.step, position.epoch_sums, score)
        log.info("%s epoch %d: val/accuracy %.4f", position.phase, position.epoch, score.accuracy)
        position.epoch_sums = [0.0, 0.0, 0.0]

    def _save(self, score: Score | None, *, stop: bool) -> None:
        """Save, unless the weights are spoilt; leave, if that was decided. After the last epoch they must be good.

        `score`: of the epoch that is over; null in the middle of one.
        """
        began_s = time.perf_counter()
        healthy = self._healthy()
        if stop:
            reach(Point.AGREED_BEFORE_SAVE)
        if healthy:
            is_best = score is not None and self._judged(score)
            self.site.save(state.snapshot(self.site, self.trainee, is_best=is_best), is_best=is_best)
            self.narrator.stalled(self.trainee.position.step, time.perf_counter() - began_s)
            self.council.saved()
        if stop:
            raise StopRun(saved=healthy)
        if not healthy and self.verdicts.is_over(self.trainee.position):
            raise Diverging("The weights after the last epoch are no finite numbers.")

    def _judged(self, score: Score) -> bool:
        """Whether the epoch was the best so far; says so when it was the last."""
        position, phases = self.trainee.position, self.site.phases
        is_best = self.verdicts.judge(position, score)
        if position.stopped_early:
            self.verdicts.tell(position, self.site.reporter)
            self.narrator.jumped(position.step, (phases.index(position.phase) + 1) / len(phases))
        return is_best

    def _healthy(self) -> bool:
        """Whether what would be saved holds numbers only. All ranks agree: running statistics are each rank's own."""
        tensors = parts.owned(state.tensors(self.trainee))
        numbers = [tensors.get(part) for part in ("model", "optimizer", "methods", "ema")]
        spoilt = self.council.non_finite > 0 or not all_finite([*numbers, self.site.ranks.memory()])
        return self.site.ranks.sum_later(torch.tensor([float(spoilt)])).result().item() == 0


def _begin(site: Site, phase: Phase, source: Path | None, rollbacks: int | None) -> Work:
    """A network as it starts, or as `source` has it; the same on every rank."""
    snapshot = checkpoint.load(source) if source else None
    position = snapshot.position if snapshot else Position(phase)
    if rollbacks is not None:
        position.rollbacks = rollbacks
    position.micro_batch = site.micro_batch
    if snapshot:
        site.refuse_other(snapshot.identity)
    pruned = Applied.model_validate(snapshot.pruned) if snapshot and snapshot.pruned else None
    trainee, beginning = _as_saved(site, position, snapshot.tensors if snapshot else None, pruned)
    if not snapshot:
        _compressed(site, beginning, trainee)
        trainee.average = state.average(site, trainee.network)
    _seed(site, phase, snapshot)
    published, waited_s = trainee.metrics, site.material.training.waited_s
    narrator = Narrator(site.reporter, phase, site.pace(phase), published, _waited_s=waited_s)
    council = _council(site, position, narrator, len(published))
    return Work(site, trainee, council, narrator, Verdicts.of(site.order.spec, phase))


def _as_saved(
    site: Site, position: Position, tensors: dict[str, Any] | None, pruned: Applied | None
) -> tuple[Trainee, Beginning]:
    """The network of a phase, in the form and state that were saved, if any were; else as it starts."""
    beginning = begin(site.order, site.material.loaded.classes, position.phase)
    network = beginning.network
    if pruned:
        architecture.apply_again(network, pruned)
    network.to(site.material.precision.weights)  # before weights are loaded: fp64 ones must not pass through fp32
    if tensors:
        network.load_state_dict(parts.whole(tensors["model"]))
    size, channels = site.order.spec.image_size, architecture.of(network).channels
    seen = scene_of(network, "", size, channels) if site.ranks.sharded else None
    trainee = _trainee(site, network, position)
    trainee.methods = _methods(site, trainee, seen)
    if tensors:
        state.restore(site, trainee, tensors)
    return trainee, beginning


def _compressed(site: Site, beginning: Beginning, trainee: Trainee) -> None:
    """Tell what compression did, and end what it began: see `recalibration`. Resumed runs have both behind them."""
    for outcome in beginning.outcomes:
        site.reporter.send(Compressed, **outcome.effect.model_dump())
    if beginning.statistics_stale:
        shares = site.material.shares(epoch=0, first_batch=0)
        with closing(shares), site.ranks.evaluating(trainee.network):
            recalibration.recalibrate(trainee, islice(shares, recalibration.BATCHES), site.tick)


def _trainee(site: Site, network: nn.Module, position: Position) -> Trainee:
    training, material = site.order.spec.training, site.material
    network.to(material.precision.weights).to(memory_format=material.memory_format)  # type: ignore[call-overload]
    sharing.refuse_undividable(network, site.order.spec)
    site.ranks.place(network)
    if site.ranks.sharded:
        sharing.tell(site, network)
    micro_batch = MicroBatch(material.largest_share, least_images(network), site.micro_batch)
    synchronised = synced_batchnorm.hang(network, site.order.spec.distributed, site.ranks)  # so it is compiled with it
    wrapped = _settled(site, network, micro_batch)
    rate = optim.make_rate(training, material.steps_per_epoch)
    scale = 0.5**position.rollbacks
    return Trainee(
        network=network,
        wrapped=wrapped,
        optimizer=site.ranks.divided(optim.make_optimizer(training, network)),
        scaler=material.precision.scaler(),
        precision=material.precision,
        rate=lambda step: rate(step) * scale,
        position=position,
        micro_batch=micro_batch,
        methods=Methods(synchronised),
        max_gradient_norm=training.max_gradient_norm,
    )


def _settled(site: Site, network: nn.Module, micro_batch: MicroBatch) -> nn.Module:
    """See `settle`. What is compiled is compiled for the size that most steps have."""
    spec, material = site.order.spec, site.material
    choice = compiling.choose(spec, site.ranks.device.type, material.steps_per_epoch)
    images = micro_batch.largest_piece if choice.compiled else 2
    example = material.example(architecture.of(network).channels, images)
    compiler = Compiler(choice, spec.training.compile is True, site.reporter)
    with micro_batch.fitting() if choice.compiled else sharing.explained(site.ranks):
        return settle(network, example, site.ranks, material.precision, compiler.compiled)


def _methods(site: Site, trainee: Trainee, seen: Scene | None) -> Methods:
    """What takes part in the training of a network; in a baseline's, nothing of what the spec compresses with.

    `seen`: the network as it was before ranks divided its weights, where they do.
    """
    order, material, network = site.order, site.material, trainee.network
    if trainee.position.phase == "baseline":
        return trainee.methods
    scaling = Scaling(mean=material.scaling.mean, std=material.scaling.std)
    course = Course(order, material.loaded.classes, scaling, material.precision, site.ranks.device, site.largest)
    channels = architecture.of(network).channels
    hung = attach(network, order.spec.compression, order.spec.image_size, channels, course, seen)
    return Methods(trainee.methods.attached | hung.attached)


def _council(site: Site, position: Position, narrator: Narrator, published: int) -> Council:
    def publish(rows: Sequence[Row]) -> None:
        sums = position.epoch_sums
        for row in rows:
            sums[:] = [total + part for total, part in zip(sums, row.sums, strict=True)]
        if site.ranks.rank == 0:
            narrator.tell(rows)

    return Council(site.ranks, site.board, publish, position.step + 1, published=published)


def _seed(site: Site, phase: Phase, snapshot: Snapshot | None) -> None:
    """The rank's own random numbers go on where they were; a rank that was not there before begins a stream."""
    rank = site.ranks.rank
    seeds.seed_all(site.order.spec.training.seed, phase, rank, snapshot.position.step if snapshot else 0)
    if snapshot and len(snapshot.rng) == site.ranks.world:
        seeds.restore(snapshot.rng[rank], site.ranks.device)


def _step_back(site: Site, phase: Phase, resumed: Path | None, rollbacks: int, trouble: Diverging) -> Path | None:
    """Where all ranks go on from: the phase's last good checkpoint, or null for its beginning."""
    if rollbacks > ROLLBACK_LIMIT:
        raise RunFailure(FailureCode.DIVERGED, f"{trouble} The rate was halved {ROLLBACK_LIMIT} times before.")
    source = site.newest_checkpoint(phase) or resumed
    where = source.name if source else "the beginning"
    message = f"{trouble} Going back to {where} with 1/{2**rollbacks} of the learning rate."
    site.reporter.send(
        Noted, level="warning", code="rate_halved", message=message, data={"from": where, "rollbacks": rollbacks}
    )
    return source
