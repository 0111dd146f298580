"""What does exchanging gradients cost: two DDP processes beside two that do not talk, and one beside the bare loop?

python -m benchmarks scaling [--rounds 7] [--network resnet18] [--size 64] [--batch 64] [--steps 12] [--wanted]

Each contender is a group of forked processes with a thread each, and makes its steps through the project's own loop, on
images that are there already. A round runs every contender once, in turns; times are those of the slowest process, from
when all are ready. Processes of a group have `batch` images each, so a group of two has twice the batch: ideal scaling
is two processes that never talk.
"""

import argparse
import multiprocessing
import resource
import socket
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import repeat
from multiprocessing.synchronize import Barrier
from typing import Any

import torch
import torch._dynamo
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from app.contract.distributed import Ddp, Distributed, Single
from app.contract.training import Training
from benchmarks import record
from benchmarks.pipelines import tables
from benchmarks.pipelines.rounds import rounded
from worker.training import optim, synced_batchnorm
from worker.training.architecture import Architecture, assemble, seeded
from worker.training.attached import Methods
from worker.training.board import Board
from worker.training.checkpoint import Position
from worker.training.council import Council
from worker.training.distributed import Ranks, Seat, connect
from worker.training.loop import Share, Trainee, settle, train_epoch
from worker.training.memory import MicroBatch
from worker.training.precision import Precision
from worker.training.sampling import Division, portions

CPU = torch.device("cpu")
CLASSES = 10
WARM_UP = 3
TWO, APART, ONE, BARE = "DDP, 2 processes", "2 processes, no exchange", "DDP, 1 process", "bare loop"
LEAST, MOST_OVERHEAD = 0.9, 1.02
"""Targets: two processes to two that do not exchange, in images/s; one process to the bare loop, in time."""
WANTED = (APART, TWO, ONE, BARE)
"""The contenders of the targets."""


@dataclass(frozen=True)
class Contender:
    """A group of processes. `way` null: no loop of the project's."""

    processes: int
    way: Distributed | None


CONTENDERS = {
    BARE: Contender(1, None),
    "loop, 1 process": Contender(1, Single()),
    ONE: Contender(1, Ddp(processes=1)),
    APART: Contender(2, Single()),
    TWO: Contender(2, Ddp(processes=2)),
    "fp16 gradients": Contender(2, Ddp(processes=2, gradient_compression="fp16")),
    "powersgd": Contender(2, Ddp(processes=2, gradient_compression="powersgd")),
    "2 passes a step": Contender(2, Ddp(processes=2, gradient_accumulation=2)),
    "synchronised batch normalisation": Contender(2, Ddp(processes=2, sync_batchnorm=True)),
    "static graph": Contender(2, Ddp(processes=2, static_graph=True)),
    "divided optimizer": Contender(2, Ddp(processes=2, zero_optimizer=True)),
}


@dataclass(frozen=True)
class Load:
    """What every process computes."""

    network: str
    size: int
    batch: int
    steps: int


def bare(load: Load) -> Callable[[int], None]:
    """Steps as a tutorial has them."""
    network = fresh(load)
    optimizer = optim.make_optimizer(Training(), network)
    images_NCHW, labels_N = material(load)

    def steps(count: int) -> None:
        for _ in range(count):
            F.cross_entropy(network(images_NCHW), labels_N).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return steps


def in_loop(load: Load, way: Distributed, ranks: Ranks) -> Callable[[int], None]:
    """Steps as a run makes them."""
    network, precision = fresh(load), Precision("cpu")
    images_NCHW, labels_N = material(load)
    samples = load.batch * ranks.world
    division = Division(samples, ranks.world, getattr(way, "gradient_accumulation", 1))
    own = tuple(portions(torch.arange(samples).numpy(), ranks.rank, division))
    share = Share(images_NCHW, labels_N, samples, portions=own)
    trainee = Trainee(
        network=network,
        wrapped=settle(network, Share(images_NCHW[:2], labels_N[:2], 2), ranks, precision),
        optimizer=ranks.divided(optim.make_optimizer(Training(), network)),
        scaler=precision.scaler(),
        precision=precision,
        rate=lambda _step: 1e-3,
        position=Position("training"),
        micro_batch=MicroBatch(load.batch, 2),
        methods=Methods(synced_batchnorm.hang(network, way, ranks)),
    )
    council = Council(ranks, Board(ranks.world), lambda _rows: None, 1)

    def steps(count: int) -> None:
        for _ in train_epoch(trainee, repeat(share, count), ranks, council, lambda _step, _rate, _images: None):
            pass
        council.settle(trainee.position.step)

    return steps


def fresh(load: Load) -> nn.Module:
    """With random weights, in training."""
    with seeded(0, load.network):
        network = assemble(Architecture(name=load.network, channels=3, outputs=CLASSES)).train()
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def material(load: Load) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and labels of one process."""
    images_NCHW = torch.randn(load.batch, 3, load.size, load.size)
    return images_NCHW.to(memory_format=torch.channels_last), torch.arange(load.batch) % CLASSES


def work(load: Load, contender: Contender, rank: int, port: int, ready: Barrier, answers: Any) -> None:
    """The body of one process: tells how long the counted steps took, in seconds of the clock and of the processor."""
    torch.set_num_threads(1)
    way, ranks = contender.way, None
    if way is None:
        steps = bare(load)
    else:
        world = contender.processes if isinstance(way, Ddp) else 1
        ranks = connect(way, Seat(rank if world > 1 else 0, world, CPU, port))
        steps = in_loop(load, way, ranks)
    steps(WARM_UP)
    ready.wait()
    began_s, used_s = time.perf_counter(), cpu_s()
    steps(load.steps)
    answers.put((time.perf_counter() - began_s, cpu_s() - used_s))
    if ranks:
        ranks.close()


def cpu_s() -> float:
    """Of this process, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure_one(load: Load, contender: Contender) -> dict[str, float]:
    """Images, seconds and seconds of the processor of one contender in one round."""
    context = multiprocessing.get_context("fork")  # no operation has run here, as in the launcher
    ready, answers = context.Barrier(contender.processes), context.SimpleQueue()
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
        members = [
            context.Process(target=work, args=(load, contender, rank, port, ready, answers))
            for rank in range(contender.processes)
        ]
        for member in members:
            member.start()
        store = dist.TCPStore(  # type: ignore[attr-defined]
            "127.0.0.1", port, is_master=True, wait_for_workers=False, master_listen_fd=door.detach()
        )
    for member in members:
        member.join()
    del store
    if any(member.exitcode for member in members):
        raise SystemExit(f"scaling: {contender} failed; its last words are above")
    told = [answers.get() for _ in members]
    images = load.batch * load.steps * contender.processes
    return {"images": images, "seconds": max(s for s, _ in told), "cpu_s": sum(s for _, s in told)}


def measure(load: Load, rounds: int, names: Sequence[str]) -> dict[str, list[dict[str, float]]]:
    """Contenders in turn, forwards and backwards."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            found[name].append(measure_one(load, CONTENDERS[name]))
            print(f"  round {number + 1}: {name:<34} {_rate(found[name][-1]):>8,.0f} images/s", flush=True)
    return found


def summary(found: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Medians over the rounds; ratios are medians of those of each round."""
    speed = {}
    for name, rounds in found.items():
        rates = [_rate(each) for each in rounds]
        per_cpu_s = statistics.median(each["images"] / max(each["cpu_s"], 1e-3) for each in rounds)
        middle = {"images_per_s": statistics.median(rates), "lowest": min(rates), "highest": max(rates)}
        speed[name] = {key: rounded(value) for key, value in middle.items()} | {"images_per_cpu_s": rounded(per_cpu_s)}
    ratios = {name: rounded(ratio(found, TWO, name)) for name in found if name != TWO}
    overhead = ratio(found, BARE, ONE)
    return {"speed": speed, "times_as_fast": ratios, "overhead_of_one": round(overhead, 4)}


def ratio(found: dict[str, list[dict[str, float]]], name: str, other: str) -> float:
    """How many times as fast one is as the other, in the middle round."""
    pairs = zip(found[name], found[other], strict=True)
    return statistics.median(_rate(mine) / _rate(theirs) for mine, theirs in pairs)


def _rate(made: dict[str, float]) -> float:
    return made["images"] / made["seconds"]


def targets(result: dict[str, Any]) -> list[tables.Target]:
    """What is wanted beside what was found."""
    return [
        tables.Target(f"{TWO}, to {APART}", result["times_as_fast"][APART], LEAST, "of the images/s"),
        tables.Target(f"{ONE}, to the {BARE}", result["overhead_of_one"], MOST_OVERHEAD, "of the time", least=False),
    ]


def main() -> None:
    """Measure and write a result file and its table."""
    parser = argparse.ArgumentParser(prog="benchmarks scaling", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--size", type=int, default=64, help="side of the images")
    parser.add_argument("--batch", type=int, default=64, help="images of each process in a step")
    parser.add_argument("--steps", type=int, default=12, help="counted steps of each process in a round")
    parser.add_argument("--wanted", action="store_true", help="only the contenders of the targets")
    parser.add_argument("--quick", action="store_true", help="to see that it runs; the figures are worth nothing")
    given = parser.parse_args()
    if given.quick:
        given.rounds, given.network, given.size, given.batch, given.steps = 1, "test_resnet", 32, 8, 2
    load = Load(given.network, given.size, given.batch, given.steps)
    result = {"question": "what exchanging gradients costs", "settings": tables.settings(given)}
    result |= summary(measure(load, given.rounds, WANTED if given.wanted else tuple(CONTENDERS)))
    for each in targets(result):
        print(each.row())
    if given.quick:
        return
    path = record.write("scaling", result)
    text = tables.markdown(path, "DDP beside processes that do not talk", "make bench ARGS=scaling", targets(result))
    path.with_suffix(".md").write_text(text)
    print(text)
    print(f"scaling: written to {path}")


if __name__ == "__main__":
    main()
