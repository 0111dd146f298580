"""One network, from its initial weights to its last epoch: evaluated, saved, resumed, and set back when it diverges."""

import logging
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from app.contract.distributed import synchronises
from app.contract.events import Compressed, Noted, Phase
from app.contract.failures import FailureCode
from app.contract.faults import Point, reach
from app.contract.report import Trained
from worker.tensorflow import architecture, checkpoints, networks
from worker.tensorflow.architecture import Architecture
from worker.tensorflow.averaging import Average
from worker.tensorflow.norm import BatchNorm
from worker.tensorflow.optim import make_optimizer
from worker.tensorflow.rows import Waiting
from worker.tensorflow.site import Site
from worker.tensorflow.steps import Compiled
from worker.training import optim, signs
from worker.training.checkpoint import Position
from worker.training.errors import RunFailure
from worker.training.narrator import Narrator
from worker.training.rows import Diverging, Row, Score
from worker.training.run_place import StopRun
from worker.training.verdicts import Verdicts

ROLLBACK_LIMIT = 2

log = logging.getLogger(__name__)


def train(site: Site, phase: Phase, resumed: Path | None) -> "Work":
    """Train one network to the end of its last epoch. Raises `StopRun`, saved, when it was asked to stop.

    Non-finite losses lead back to the last good checkpoint with half the rate, twice at most, then to `diverged`.
    """
    source, rollbacks = resumed, None
    while True:
        work = _begin(site, phase, source, rollbacks)
        try:
            work.to_the_end()
            work.finish()
            return work
        except Diverging as trouble:
            rollbacks = work.position.rollbacks + 1
            source = _step_back(site, phase, resumed, rollbacks, trouble)


@dataclass
class Work:
    """The training of one network under way."""

    site: Site
    position: Position
    compiled: Compiled
    described: Architecture
    narrator: Narrator
    verdicts: Verdicts
    average: Average | None = None
    best: dict[str, Any] | None = None
    """The weights to export, where they are not the last ones."""
    waiting: Waiting = field(init=False)

    def __post_init__(self) -> None:
        training, scale = self.site.order.spec.training, 0.5**self.position.rollbacks
        rate = optim.make_rate(training, self.site.material.steps_per_epoch)
        self._rate = lambda step: rate(step) * scale
        self.waiting = Waiting(self.position.step, self._publish)

    @property
    def weights(self) -> dict[str, Any]:
        """Of the network, on the host."""
        return architecture.weights_of(self.compiled.model)

    @property
    def trained(self) -> Trained:
        """How the network comes to the weights that are exported."""
        is_best, averaged = self.best is not None, self.average is not None
        return self.site.trained(self.position, is_best=is_best, averaged=averaged)

    def to_the_end(self) -> None:
        """All epochs that are left."""
        if not self.verdicts.is_over(self.position):
            with signs.of_life(self.site.board, self.site.material.world):
                self.compiled.prepare()
        while not self.verdicts.is_over(self.position):
            self._epoch()

    def finish(self) -> None:
        """Leave the network as it is exported."""
        exported = self.best
        if exported is None and self.average:
            exported = self.average.tensors
        if exported is not None:
            architecture.set_weights(self.compiled.model, exported)

    def _epoch(self) -> None:
        position, material = self.position, self.site.material
        self.narrator.restart_clock()
        for step in material.steps(position.epoch, position.batch):
            self._step(step)
        self.waiting.settle()
        with self._shown():
            score = self._score()
        self._close_epoch(score)
        self._save(score, stop=self.site.board.stop_wished)

    def _step(self, step: Any) -> None:
        position = self.position
        rate = self._rate(position.step + 1)
        row_3 = self.compiled.train(step, rate)
        position.batch += 1
        position.step += 1
        if self.average:
            self.average.step_made(position.step)
        self.site.tick()
        self.narrator.step_made(position.step, rate, len(step.places_N), self.site.material.training.waited_s)
        self.waiting.add(row_3)
        stop = self.site.board.stop_wished
        if stop or self.site.save_is_due():
            self.waiting.settle()
            self._save(None, stop=stop)

    def _shown(self) -> AbstractContextManager[None]:
        """Inside, the network is as it is evaluated."""
        return self.average.shown() if self.average else nullcontext()

    def _score(self) -> Score:
        sums_3 = np.zeros(3)
        for batch in self.site.material.evaluation():
            sums_3 += self.compiled.evaluate(batch).numpy()
            self.site.tick()
        loss_sum, right, samples = sums_3.tolist()
        return Score(loss_sum / samples, right / samples)

    def _close_epoch(self, score: Score) -> None:
        position = self.position
        position.epoch, position.batch = position.epoch + 1, 0
        self.narrator.epoch_ended(position.epoch, position.step, position.epoch_sums, score)
        log.info("%s epoch %d: val/accuracy %.4f", position.phase, position.epoch, score.accuracy)
        position.epoch_sums = [0.0, 0.0, 0.0]

    def _publish(self, rows: list[Row]) -> None:
        sums = self.position.epoch_sums
        for row in rows:
            sums[:] = [total + part for total, part in zip(sums, row.sums, strict=True)]
        self.narrator.tell(rows)

    def _save(self, score: Score | None, *, stop: bool) -> None:
        """Save, unless the weights are spoilt; leave, if that was wished. After the last epoch they must be good.

        `score`: of the epoch that is over; null in the middle of one.
        """
        began_s = time.perf_counter()
        tensors = self._tensors()
        healthy = not self.waiting.non_finite and all(_is_finite(part) for part in tensors.values())
        if stop:
            reach(Point.AGREED_BEFORE_SAVE)
        if healthy:
            is_best = score is not None and self._judged(score, tensors)
            tensors |= {"best": self.best} if self.best is not None else {}
            self.site.save(checkpoints.snapshot(self.position, self.site.identity, tensors), is_best=is_best)
            self.narrator.stalled(self.position.step, time.perf_counter() - began_s)
        if stop:
            raise StopRun(saved=healthy)
        if not healthy and self.verdicts.is_over(self.position):
            raise Diverging("The weights after the last epoch are no finite numbers.")

    def _tensors(self) -> dict[str, dict[str, Any]]:
        """All that changes as the network is trained, copied to the host."""
        state = {"model": self.weights, "optimizer": _state(self.compiled.optimizer)}
        return state | ({"ema": self.average.tensors} if self.average else {})

    def _judged(self, score: Score, tensors: dict[str, dict[str, Any]]) -> bool:
        """Whether the epoch was the best so far, and what is exported then; says so when it was the last."""
        is_best = self.verdicts.judge(self.position, score)
        if is_best and self.verdicts.export_best:
            self.best = tensors["ema" if self.average else "model"]
        if self.position.stopped_early:
            phases = self.site.phases
            self.verdicts.tell(self.position, self.site.reporter)
            self.narrator.jumped(self.position.step, (phases.index(self.position.phase) + 1) / len(phases))
        return is_best


def _begin(site: Site, phase: Phase, source: Path | None, rollbacks: int | None) -> Work:
    """A network as it starts, or as `source` has it."""
    snapshot = checkpoints.load(source) if source else None
    position = snapshot.position if snapshot else Position(phase)
    if rollbacks is not None:
        position.rollbacks = rollbacks
    if snapshot:
        site.refuse_other(snapshot.identity)
    beginning = networks.begin(site.order, site.material.loaded.classes, phase)
    weights = snapshot.tensors["model"] if snapshot else architecture.weights_of(beginning.model)
    compiled = _compiled(site, beginning.architecture, weights)
    ema = site.order.spec.training.ema
    average = Average(ema, compiled.model) if ema else None
    if snapshot:
        _restore(compiled.optimizer, snapshot.tensors["optimizer"])
        if average:
            average.load(snapshot.tensors["ema"])
    else:
        for outcome in beginning.outcomes:
            site.reporter.send(Compressed, **outcome.effect.model_dump())
    waited_s = site.material.training.waited_s
    narrator = Narrator(site.reporter, phase, site.pace(phase), compiled.published, _waited_s=waited_s)
    best = snapshot.tensors.get("best") if snapshot else None
    verdicts = Verdicts.of(site.order.spec, phase)
    return Work(site, position, compiled, beginning.architecture, narrator, verdicts, average, best)


def _compiled(site: Site, described: Architecture, weights: dict[str, Any]) -> Compiled:
    """The network on its devices, each with a copy."""
    training, material = site.order.spec.training, site.material
    with site.strategy.scope():
        keras.utils.set_random_seed(training.seed % 2**32)
        model = architecture.assemble(described)
        architecture.set_weights(model, weights)
        for layer in model.layers:
            if isinstance(layer, BatchNorm):
                layer.over_all = synchronises(site.order.spec.distributed)
        optimizer = make_optimizer(training)
        optimizer.build(model.trainable_variables)
    return Compiled(
        site.strategy,
        model,
        optimizer,
        material.scaling,
        bool(material.pipeline.mixing),
        training.label_smoothing,
        training.max_gradient_norm,
    )


def _state(optimizer: Any) -> dict[str, Any]:
    return {str(number): each.numpy() for number, each in enumerate(optimizer.variables)}


def _restore(optimizer: Any, state: dict[str, Any]) -> None:
    for number, each in enumerate(optimizer.variables):
        each.assign(state[str(number)])


def _is_finite(values: dict[str, Any]) -> bool:
    return all(bool(np.isfinite(value).all()) for value in values.values())


def _step_back(site: Site, phase: Phase, resumed: Path | None, rollbacks: int, trouble: Diverging) -> Path | None:
    """Where to go on from: the phase's last good checkpoint, or null for its beginning."""
    if rollbacks > ROLLBACK_LIMIT:
        raise RunFailure(FailureCode.DIVERGED, f"{trouble} The rate was halved {ROLLBACK_LIMIT} times before.")
    source = site.saver.newest(phase) or resumed
    where = source.name if source else "the beginning"
    message = f"{trouble} Going back to {where} with 1/{2**rollbacks} of the learning rate."
    data = {"from": where, "rollbacks": rollbacks}
    site.reporter.send(Noted, level="warning", code="rate_halved", message=message, data=data)
    return source
