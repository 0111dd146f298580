"""The report: what the job ships, reloaded from its files in a process that has trained nothing, and measured beside
what it came from.

`python -m worker.training.measure ORDER.json OUT.json PIPE` is that process; PIPE, a descriptor, hears of a failure.
"""

import sys
from pathlib import Path

import torch
from torch import nn

from app.contract.export import FILES, INT8_FILE
from app.contract.report import Report
from app.contract.work import RunOrder
from worker.training import checks, gates, machine, notes, side_process, stages, turns
from worker.training.card import ModelCard
from worker.training.export import probe
from worker.training.figures import Figures, plain, ratios
from worker.training.measuring import ARTIFACTS, BEFORE, artifacts
from worker.training.notes import Tell, silent
from worker.training.onnx_network import OnnxNetwork
from worker.training.reference import TOLERANCE

__all__ = ["ARTIFACTS", "artifacts", "main", "measured"]


def measured(order: RunOrder, tell: Tell = silent) -> Report:
    """The report of a finished run, measured in this process, which has run no operation. Raises `RunFailure`."""
    threads = machine.threads()
    run_dir = Path(order.paths.run_dir)
    folder = run_dir / ARTIFACTS
    found = stages.stages(order, folder)
    model, card = found[-1].model, found[-1].card
    assert card is not None  # the last one is the network that was trained
    exports = checks.checked(run_dir, folder, model, card, tell)
    device = torch.device("cuda", order.devices[0]) if order.device_kind == "cuda" else torch.device("cpu")
    for stage in found:
        _place(stage.model, device)
    paths = {FILES["onnx"]: folder / FILES["onnx"], INT8_FILE: folder / INT8_FILE, BEFORE: run_dir / BEFORE}
    onnx = {name: OnnxNetwork(path, threads) for name, path in paths.items() if path.exists()}
    figures = Figures(order, found, onnx, card)
    listed = figures.stages()
    turns.tell_left_out(listed[-1].latency, tell)
    return Report(
        before=plain(listed[0]),
        after=plain(listed[-1]),
        ratios=ratios(listed[0], listed[-1]),
        accuracy_drop=figures.accuracy_drop,
        machine=machine.described(device, OnnxNetwork.version if onnx else None),
        verified=_same_outputs(model, card),
        dataset_sha256=card.dataset_sha256,
        stages=listed,
        classes=figures.classes(),
        exports=exports,
    )


def _place(model: nn.Module, device: torch.device) -> nn.Module:
    """Where and how it would be used: as the trainer had it."""
    model.to(device)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _same_outputs(model: nn.Module, card: ModelCard) -> bool:
    """Whether the rebuilt network answers as the trained one did when it was written."""
    if card.probe is None:
        return False
    wanted, found = torch.tensor(card.probe.outputs), torch.tensor(probe(model, card))
    if wanted.shape != found.shape:
        return False
    return bool((wanted - found).abs().max() <= TOLERANCE * wanted.abs().max().clamp(min=1e-6))


def main(arguments: list[str]) -> int:
    """Write the Report, or tell the launcher, over its pipe, why there is none and exit with 1."""
    if len(arguments) != 3:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    order, out, pipe = Path(arguments[0]), Path(arguments[1]), int(arguments[2])
    return side_process.run(pipe, "There is no report", lambda reporter: _write(order, out, notes.to(reporter)))


def _write(path: Path, out: Path, tell: Tell) -> None:
    order = RunOrder.model_validate_json(path.read_bytes())
    report = measured(order, tell)
    report = report.model_copy(update={"gates": gates.judged(report, order.spec)})
    out.write_text(report.model_dump_json(), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
