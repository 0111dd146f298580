"""How long does training stand still for a checkpoint, beside one that is written before it goes on?

python -m benchmarks checkpoints [--rounds 9] [--model resnet50] [--folder DIR] [--quick]

The state is that of a network and AdamW's moments (ResNet-50: 307 MB), on the CPU. Ways take turns, and each round is
made of one save of each:

- `stall`: as a run saves: the state is looked through for NaN, copied, and handed to the thread that writes it;
- `synchronous`: the same checkpoint, written from the state itself, hashed and synced before training goes on;
- `torch.save`: into one file, synced, without hashes or a manifest: the least that a script does.

`written` is how long the thread beside the training takes. A first round warms up and does not count.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks import record
from worker.training import checkpoint
from worker.training.architecture import Architecture, assemble, seeded
from worker.training.checkpoint import Position, Snapshot
from worker.training.events import Reporter
from worker.training.finite import all_finite
from worker.training.saver import Saver

TARGET = 0.1
"""Of a synchronous save, the most that training is to stand still."""

State = dict[str, Any]


def main() -> None:
    """Print a table and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--folder", type=Path, help="On the disk that is to be measured; otherwise a temporary one.")
    parser.add_argument("--quick", action="store_true", help="A small network and two rounds; nothing is recorded.")
    arguments = parser.parse_args()
    rounds, model = (2, "resnet10t") if arguments.quick else (arguments.rounds, arguments.model)
    with tempfile.TemporaryDirectory(prefix="trainyard-", dir=arguments.folder) as folder:
        result = measure(state_of(model), Path(folder), rounds)
    print("\n".join(f"{name:<12} {value:.4g}" for name, value in result["medians"].items()))
    print(f"stall / synchronous: {result['stall_ratio']:.3f}, at most {TARGET} wanted")
    if not arguments.quick:
        print(record.write("checkpoints", {"model": model} | result))


def state_of(model: str) -> State:
    """Of a network after one step."""
    with seeded(0, model):
        network = assemble(Architecture(name=model, channels=3, outputs=1000))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, 1e-3)
    optimizer.step()
    return {"model": network.state_dict(), "optimizer": optimizer.state_dict()}


def measure(state: State, folder: Path, rounds: int) -> dict[str, Any]:
    """Seconds of each way in each round, their medians, and the median ratio of a round."""
    with (folder / "told").open("wb") as told:
        saver = Saver(folder, Reporter(os.dup(told.fileno())))
        ways: dict[str, Callable[[int], None]] = {
            "stall": lambda step: handed_over(saver, state, step),
            "written": lambda _step: saver.wait(),
            "synchronous": lambda step: synchronous(state, folder / "synchronous", step),
            "torch.save": lambda _step: plain(state, folder / "plain.pt"),
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(rounds + 1):
            for name, save in ways.items():
                began_s = time.perf_counter()
                save(number + 1)
                if number:
                    times[name].append(time.perf_counter() - began_s)
        saver.close()
    ratios = [stall / whole for stall, whole in zip(times["stall"], times["synchronous"], strict=True)]
    medians = {name: statistics.median(each) for name, each in times.items()}
    size_bytes = (folder / "plain.pt").stat().st_size
    return {"seconds": times, "medians": medians, "stall_ratio": statistics.median(ratios), "bytes": size_bytes}


def snapshot(tensors: State, step: int) -> Snapshot:
    """As rank 0 has it."""
    return Snapshot(Position("training", step=step), {"spec": "", "data": ""}, tensors, [{}])


def handed_over(saver: Saver, state: State, step: int) -> None:
    """What a run does before it goes on."""
    if not all_finite(state):
        raise SystemExit("checkpoints: the state is spoilt")
    saver.save(snapshot(saver.copy(state), step), is_best=False, carried=[])


def synchronous(state: State, folder: Path, step: int) -> None:
    """Nothing is copied; the older one is removed, as a run does."""
    checkpoint.save(snapshot(state, step), folder)
    for old in checkpoint.in_order(folder)[:-1]:
        checkpoint.remove(old)


def plain(state: State, path: Path) -> None:
    """One file, on the disk."""
    with path.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())


if __name__ == "__main__":
    main()
