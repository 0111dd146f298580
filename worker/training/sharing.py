"""Weights that ranks divide among them: what cannot be divided, and what each rank keeps."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from app.contract.distributed import Fsdp
from app.contract.events import Noted
from app.contract.failures import FailureCode
from app.contract.job import JobSpec
from app.contract.work import RunOrder
from worker.training import causes, parts
from worker.training.blocks import blocks_of, largest_unit
from worker.training.distributed import Ranks
from worker.training.errors import bad_spec
from worker.training.site import Site

TOO_LARGE = 0.5
"""Share of the weights that are gathered at a time from which on a plan warns."""


def refuse_undividable(network: nn.Module, spec: JobSpec) -> None:
    """Raises `bad_spec` for weights without a dimension, of which there are no rows."""
    if not isinstance(spec.distributed, Fsdp):
        return
    single = [name for name, weight in network.named_parameters() if weight.ndim == 0]
    if single:
        detail = (
            f"{len(single)} weights of this network are single numbers ({single[0]}), which fsdp cannot divide: use "
            "ddp, or another model."
        )
        raise bad_spec("/distributed/kind", detail, "not_dividable")


def warnings(network: nn.Module, order: RunOrder) -> Iterator[str]:
    """Networks of which little is let go at a time."""
    if not isinstance(order.spec.distributed, Fsdp) or order.processes == 1:
        return
    share = largest_unit(network) / sum(weight.numel() for weight in network.parameters())
    if share > TOO_LARGE:
        yield (
            f"fsdp gathers {share:.0%} of this network's weights at a time, since they stand in no block of their own: "
            "only their gradients and moments are divided all the time."
        )


def tell(site: Site, network: nn.Module) -> None:
    """Say what each rank keeps of a network's weights."""
    own, whole = parts.counts(network)
    kept = [each["kept"] for each in site.gather({"kept": own})]
    blocks = len(blocks_of(network))
    message = (
        f"Each of {site.ranks.world} processes keeps at most {max(kept):,} of {whole:,} weights "
        f"({max(kept) / whole:.1%}), and of their gradients and moments; {blocks} blocks are gathered one by one."
    )
    data = {"parameters": whole, "kept": kept, "blocks": blocks}
    site.reporter.send(Noted, level="info", code="weights_divided", message=message, data=data)


@contextmanager
def explained(ranks: Ranks) -> Iterator[None]:
    """Around the first pass of a network: what torch cannot divide shows there, on all ranks alike."""
    try:
        yield
    except Exception as error:
        if not ranks.sharded or causes.explain(error).code is not FailureCode.INTERNAL:
            raise
        detail = f"fsdp cannot divide this network ({type(error).__name__}: {str(error)[:600]}): use ddp."
        raise bad_spec("/distributed/kind", detail, "not_dividable") from error
