"""All that is counted, timed and told of the networks of a finished job."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from app.contract.distributed import passes
from app.contract.export import FILES, INT8_FILE
from app.contract.report import ClassChange, Latency
from app.contract.report import Stage as Listed
from app.contract.training import TrainBaseline
from app.contract.work import RunOrder
from worker.training import cost, data, expected_memory, peaks, sampling, scores, timing
from worker.training.card import ModelCard
from worker.training.errors import RunFailure
from worker.training.measuring import ARTIFACTS, BEFORE
from worker.training.onnx_network import OnnxNetwork
from worker.training.ratios import plain, ratios
from worker.training.scores import Score
from worker.training.stages import FIRST, Stage, size_of

__all__ = ["Figures", "plain", "ratios"]


@dataclass(frozen=True)
class Figures:
    """Of networks that are where they are to be measured. Each figure is taken when it is first asked for."""

    order: RunOrder
    networks: list[Stage]
    onnx: dict[str, OnnxNetwork]
    """By file name: those that are there."""
    card: ModelCard
    """Of the trained network, which is the last."""

    @cached_property
    def latency(self) -> dict[str, list[Latency]]:
        """By name of the stage, of networks alike that of the last, and by ONNX file."""
        torch_ones = {each.name: each.model for each in self.networks if self._timed_as(each) == each.name}
        return timing.interleaved({**torch_ones, **self.onnx}, self.card.channels, self.card.image_size)

    @cached_property
    def scores(self) -> dict[str, Score]:
        """By name, of networks that were trained in this job, and by file of the int8 one."""
        asked = {each.name: scores.torch_network(each.model, each.card) for each in self.networks if each.card}
        if INT8_FILE in self.onnx:
            asked[INT8_FILE] = self.onnx[INT8_FILE].predicted
        found = scores.scores(self.order, list(asked.values()), len(self.card.classes))
        return dict(zip(asked, found, strict=True))

    @property
    def accuracy_drop(self) -> float | None:
        """Null when the uncompressed network was not trained."""
        before, after = self._before, self._after
        return None if before is None else before.accuracy - after.accuracy

    @property
    def _before(self) -> Score | None:
        return self.scores.get(self.networks[0].name)

    @property
    def _after(self) -> Score:
        return self.scores[INT8_FILE if INT8_FILE in self.onnx else self.networks[-1].name]

    def classes(self) -> list[ClassChange]:
        """From the uncompressed network to what ships."""
        return scores.class_changes(self.card.classes, self._before, self._after)

    def stages(self) -> list[Listed]:
        """One for each network, then one for the int8 file."""
        listed = [self._network(each) for each in self.networks]
        return [*listed, self._int8(listed[-1])] if INT8_FILE in self.onnx else listed

    def _network(self, stage: Stage) -> Listed:
        counted = cost.network_cost(stage.model, self.card.channels, self.card.image_size)
        file = {0: BEFORE, len(self.networks) - 1: FILES["onnx"]}.get(self.networks.index(stage), "")
        score = self.scores.get(stage.name)
        return Listed(
            name=stage.name,
            method=stage.method.kind if stage.method else None,
            parameters=counted.parameters,
            macs=counted.macs,
            file_bytes=stage.size.file_bytes,
            gzip_bytes=stage.size.gzip_bytes,
            latency=self.latency[self._timed_as(stage)] + self.latency.get(file, []),
            training_memory_bytes=self._training_memory_bytes(stage),
            peak_memory_bytes=self._peak_memory_bytes(stage),
            accuracy=score.accuracy if score else None,
            accuracy_interval=score.interval if score else None,
            trained=stage.card.trained if stage.card else None,
        )

    def _int8(self, trained: Listed) -> Listed:
        """The same network in another file: as many numbers, of fewer bits."""
        size = size_of(Path(self.order.paths.run_dir, ARTIFACTS, INT8_FILE))
        score = self.scores[INT8_FILE]
        changes = {
            "name": "quantization",
            "method": "quantization",
            "file_bytes": size.file_bytes,
            "gzip_bytes": size.gzip_bytes,
            "latency": self.latency[INT8_FILE],
            "accuracy": score.accuracy,
            "accuracy_interval": score.interval,
        }
        return trained.model_copy(update=changes)

    def _timed_as(self, stage: Stage) -> str:
        """A method of the loop leaves the network of the stage before it: what is alike is timed once, and as fast."""
        return next(each.name for each in reversed(self.networks) if each.is_like(stage))

    def _training_memory_bytes(self, stage: Stage) -> int | None:
        """Of the network with the methods of the loop up to this one, and its teacher.

        Null where one of them names layers that only a later method makes.
        """
        spec = self.order.spec
        share = sampling.largest_share(
            self._train_images, spec.training.batch_size, self.order.processes, passes(spec.distributed)
        )
        if stage.name in FIRST:
            return expected_memory.without_methods(stage.model, self.order, share)
        behind = len(self.networks) - 1 - self.networks.index(stage)
        methods = spec.compression[: len(spec.compression) - behind - int(bool(behind and spec.quantization))]
        order = self.order.model_copy(update={"spec": spec.model_copy(update={"compression": methods})})
        try:
            own = expected_memory.of_training(stage.model, order, self.card.classes, share)
        except RunFailure:
            if behind:
                return None
            raise
        teacher = expected_memory.of_teacher(order, self.card.classes, self.card.channels, share)
        return own + (teacher.memory_bytes if teacher else 0)

    @cached_property
    def _train_images(self) -> int:
        return data.outline(self.order).train_images

    def _peak_memory_bytes(self, stage: Stage) -> int | None:
        """Of the phases that train, which ends of the list they are."""
        known = peaks.read(Path(self.order.paths.run_dir))
        if stage is self.networks[-1]:
            return known.get("training")
        is_trained = stage is self.networks[0] and isinstance(self.order.spec.baseline, TrainBaseline)
        return known.get("baseline") if is_trained else None
