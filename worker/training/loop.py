"""The training loop, with the only `backward()` of the project."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import accumulate, repeat

import torch
import torch.nn.functional as F
from torch import nn

from worker.training import gradients, seeds
from worker.training.attached import Methods
from worker.training.averaging import Average
from worker.training.checkpoint import Position
from worker.training.council import Council, Decision
from worker.training.distributed import Ranks
from worker.training.evaluation import row
from worker.training.memory import MicroBatch
from worker.training.mixing import Partners
from worker.training.precision import Precision
from worker.training.sampling import Portion

# N = samples of this rank in a step, K = classes, R = what the council hears of a step: see `council`

NO_METHODS = Methods()


@dataclass
class Trainee:
    """One network in training: as it is, as it is trained (wrapped by the ranks), and all that moves it."""

    network: nn.Module
    wrapped: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    precision: Precision
    rate: Callable[[int], float]
    position: Position
    micro_batch: MicroBatch
    methods: Methods = field(default_factory=Methods)
    max_gradient_norm: float | None = None
    average: Average | None = None
    best: Mapping[str, torch.Tensor] | None = None
    """The state of the network to export, on rank 0's host, where it is not the last one."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of what a row has behind loss, hits and samples."""
        return (*self.methods.metrics, *gradients.metrics(self.scaler, self.max_gradient_norm))

    def shown(self) -> AbstractContextManager[None]:
        """Inside, the network is as it is evaluated."""
        return self.average.shown() if self.average else nullcontext()

    def finish(self) -> None:
        """Leave the network as it is exported."""
        self.methods.detach()
        if self.best is not None:
            self.network.load_state_dict(self.best)
        elif self.average:
            self.average.load_into_network()


@dataclass(frozen=True)
class Share:
    """What one rank computes of a step. `batch_samples` counts the samples of all ranks together."""

    images_NCHW: torch.Tensor
    labels_N: torch.Tensor
    batch_samples: int
    partners: Partners | None = None  # null: the images are not mixed
    portions: tuple[Portion, ...] = ()  # one a pass; empty: all at once
    counts: bool = True  # of a piece: false where another rank has these samples
    smoothing: float = 0.0  # share of the answer that all classes have alike

    @property
    def answers_N(self) -> torch.Tensor:
        """What counts as right: the label, or the one with more weight where images are mixed."""
        return self.partners.larger(self.labels_N) if self.partners else self.labels_N

    def loss(self, logits_NK: torch.Tensor) -> torch.Tensor:
        """The mean cross entropy of the network's scores."""
        if self.partners:
            return self.partners.loss(logits_NK, self.labels_N, self.smoothing)
        return F.cross_entropy(logits_NK, self.labels_N, label_smoothing=self.smoothing)

    def pieces(self, micro_batch: MicroBatch) -> Iterator["Share"]:
        """The share as it is computed: pass by pass, and each as small as memory asks for. As many on every rank."""
        if not self.portions:
            yield from self.cut(micro_batch.pieces(len(self.labels_N)))
            return
        ends = accumulate(len(portion.indices_N) for portion in self.portions[:-1])
        for portion, piece in zip(self.portions, self.cut(tuple(ends)), strict=True):
            own = replace(piece, counts=portion.counts)
            yield from own.cut(micro_batch.pieces(portion.most, portion.fewest))

    def cut(self, pieces: int | tuple[int, ...]) -> Iterator["Share"]:
        """The share in pieces whose sizes differ by at most 1, or at these places."""
        parts = self.images_NCHW.tensor_split(pieces), self.labels_N.tensor_split(pieces)
        partners = self.partners.cut(pieces) if self.partners else repeat(None, len(parts[0]))
        return (
            Share(images, labels, self.batch_samples, other, counts=self.counts, smoothing=self.smoothing)
            for images, labels, other in zip(*parts, partners, strict=True)
        )


def train_epoch(
    trainee: Trainee,
    shares: Iterable[Share],
    ranks: Ranks,
    council: Council,
    on_step: Callable[[int, float, int], None],
) -> Iterator[Decision]:
    """Make a step for each share; yields when the ranks decided to save or to stop after the step just made.

    Raises `TooLarge` when memory runs out in a step, or while a share is made beside one.
    """
    position = trainee.position
    with trainee.micro_batch.fitting():
        for share in shares:
            rate = trainee.rate(position.step + 1)
            row_R = _step(trainee, share, rate, ranks)
            position.batch += 1
            position.step += 1
            on_step(position.step, rate, share.batch_samples)
            decision = council.after_step(position.step, row_R)
            if decision.save or decision.stop:
                yield decision


def _step(trainee: Trainee, share: Share, rate: float, ranks: Ranks) -> torch.Tensor:
    """One optimizer step; returns this rank's row for the council. The host never waits for the device here, unless a

    method of the loop says so.
    """
    trainee.methods.begin_step(trainee.position.epoch)
    row_R = _accumulate(trainee, share, ranks)
    told = gradients.finished(trainee.optimizer, trainee.scaler, trainee.max_gradient_norm)
    for group in trainee.optimizer.param_groups:
        group["lr"] = rate
    trainee.scaler.step(trainee.optimizer)
    trainee.scaler.update()
    trainee.optimizer.zero_grad(set_to_none=True)
    trainee.methods.end_step()
    if trainee.average:
        trainee.average.step_made(trainee.position.step + 1)
    return torch.cat([row_R, *(each.double().view(1) * len(share.labels_N) for each in told)])


def _accumulate(trainee: Trainee, share: Share, ranks: Ranks) -> torch.Tensor:
    """Add the gradients of the share, piece by piece in order; only the last piece's backward pass exchanges them."""
    pieces = list(share.pieces(trainee.micro_batch))
    rows_PR = []
    for piece in pieces:
        weight = ranks.world * len(piece.labels_N) / share.batch_samples if piece.counts else 0.0
        trainee.methods.begin_pass(piece.counts)
        with nullcontext() if piece is pieces[-1] else ranks.apart(trainee.wrapped):
            rows_PR.append(
                _gradients(trainee.wrapped, piece, weight, trainee.precision, trainee.scaler, trainee.methods)
            )
    return torch.stack(rows_PR).sum(0)


def _gradients(
    model: nn.Module,
    share: Share,
    weight: float,
    precision: Precision,
    scaler: torch.amp.GradScaler,
    methods: Methods = NO_METHODS,
) -> torch.Tensor:
    """Add the gradients of the mean loss. The ranks' gradients are averaged with equal weights, so a rank's own loss

    is weighted by its part of the batch: the result is the gradient of one rank that has the whole batch.
    """
    with precision.autocast():
        judge = methods.judge(share.images_NCHW)
        logits_NK = model(share.images_NCHW)
        loss, published = judge(share.loss(logits_NK), logits_NK)
    scaler.scale(loss * weight).backward()
    of_methods = [each.double().view(1) * len(share.labels_N) for each in published]
    told_R = torch.cat([row(loss, logits_NK, share.answers_N), *of_methods])
    return told_R if share.counts else torch.zeros_like(told_R)


Compile = Callable[[nn.Module, Callable[[nn.Module], object]], nn.Module]
"""From a network, and one pass forward and back through any like it, to what is called in steps."""


def settle(
    network: nn.Module,
    example: Share,
    ranks: Ranks,
    precision: Precision,
    compiled: Compile = lambda network, _try_out: network,
) -> nn.Module:
    """Wrap `network` for the ranks, with everything that happens only in a first step already behind it.

    DDP orders its buckets anew after its first backward pass, which changes the order of sums. A resumed run would be
    one such step behind, so both fresh and resumed runs spend that pass here, on a batch that leaves no trace: buffers
    and random numbers are put back, gradients dropped. Weights that get no gradient are left out, since DDP would wait
    for them for ever.
    """
    scaler = torch.amp.GradScaler(example.images_NCHW.device.type, enabled=False)
    rng = seeds.state(ranks.device)
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    network.train()
    _gradients(network, example, 1.0, precision, scaler)
    for parameter in network.parameters():
        parameter.requires_grad_(parameter.requires_grad and parameter.grad is not None)
    network.zero_grad(set_to_none=True)
    called = compiled(network, lambda model: _gradients(model, example, 1.0, precision, scaler))
    network.zero_grad(set_to_none=True)
    wrapped = ranks.wrap(called)
    if wrapped is not called:
        _gradients(wrapped, example, 1.0, precision, scaler)
        network.zero_grad(set_to_none=True)
    for name, buffer in network.named_buffers():
        buffer.copy_(buffers[name])
    seeds.restore(rng, ranks.device)
    return wrapped
