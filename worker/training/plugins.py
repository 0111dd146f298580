"""A kind is a file: `{"kind": "ddp"}` in the family `distributed` is worker/training/distributed/ddp.py."""

from importlib import import_module
from typing import Any

from app.contract.spec import Spec


def build(family: str, spec: Spec, *args: Any, **kwargs: Any) -> Any:
    """Call `build(spec, ...)` of the module that works the spec's kind. The contract has checked that it exists."""
    kind = spec.kind  # type: ignore[attr-defined]
    return import_module(f"worker.training.{family}.{kind}").build(spec, *args, **kwargs)
