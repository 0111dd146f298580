"""`torch.export`: a graph of torch's own operators with the weights, loaded by `torch.export.load(PATH).module()`."""

import io
from pathlib import Path

import torch
from torch.export import Dim, ExportedProgram

from worker.training.card import ModelCard
from worker.training.export import write as write_file
from worker.training.formats import UnitInput

EXAMPLES = 2
"""torch takes sizes 0 and 1 for constants."""


def write(network: UnitInput, card: ModelCard, path: Path) -> None:
    """See `formats.write`."""
    traced = program(network, card)
    for node in traced.graph.nodes:
        node.meta.pop("stack_trace", None)  # with the paths of the worker
    buffer = io.BytesIO()
    torch.export.save(traced, buffer)
    write_file(path, buffer.getvalue(), "application/octet-stream")


@torch.no_grad()
def program(network: UnitInput, card: ModelCard) -> ExportedProgram:
    """The network as a graph for any number of images. Raises what torch raises when it cannot be traced so."""
    example_NCHW = torch.zeros(EXAMPLES, card.channels, *card.image_size)
    return torch.export.export(network, (example_NCHW,), dynamic_shapes=({0: Dim("batch")},), strict=False)
