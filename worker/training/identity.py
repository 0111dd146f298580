"""What two specs must have in common for one to go on from a checkpoint of the other."""

import hashlib
import json
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from app.contract.augment import counterpart
from app.contract.failures import FailureCode
from app.contract.job import JobSpec
from worker.training.data import LoadedData
from worker.training.errors import RunFailure

_NO_PART = {"name", "labels", "priority", "distributed", "limits", "export", "gates", "start"}
"""What a resumed run may change: neither the numbers nor their order depend on it."""


def of_spec(spec: JobSpec) -> str:
    """SHA-256 of all that decides what is computed, in hexadecimal.

    What is at its default is left out. A later version may then give a kind one more field, as long as its default
    means what was done before, and still goes on from the checkpoints that it finds.
    """
    resolved = spec.resolved()
    said = {name: value for name, value in _said(resolved).items() if name not in _NO_PART}
    if resolved.evaluation == tuple(counterpart(resolved.augment)):
        said.pop("evaluation", None)
    text = json.dumps(said, sort_keys=True, default=to_jsonable_python)
    return hashlib.sha256(text.encode()).hexdigest()


def of_run(spec: JobSpec, loaded: LoadedData) -> dict[str, str]:
    """What a checkpoint must have in common with a run to be gone on from."""
    said = {"spec": of_spec(spec), "data": loaded.sha256}
    return said | ({"reductions": loaded.reductions} if loaded.reductions else {})


def refuse_other(own: dict[str, str], other: dict[str, str]) -> None:
    """Raise when a checkpoint is of another training or of data that has changed since."""
    if other["spec"] != own["spec"]:
        raise RunFailure(FailureCode.BAD_SPEC, "The checkpoint was made by another spec: use a new run folder.")
    if other["data"] != own["data"]:
        message = "The data set has changed since the checkpoint was made: start a new job."
        raise RunFailure(FailureCode.BAD_DATASET, message)
    if other.get("reductions") != own.get("reductions"):
        message = "The checkpoint was made from these images at another size, by another version: start a new job."
        raise RunFailure(FailureCode.BAD_SPEC, message)


def _said(part: BaseModel) -> dict[str, Any]:
    fields = type(part).model_fields
    values = {name: getattr(part, name) for name in fields}
    return {
        name: _plain(value) for name, value in values.items() if name == "kind" or value != fields[name].get_default()
    }


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return _said(value)
    return [_plain(each) for each in value] if isinstance(value, tuple) else value
