"""What a run is told: read from a file that holds a RunOrder or a bare job spec."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from app.contract.data import Folder
from app.contract.distributed import fitting
from app.contract.events import Failed
from app.contract.failures import FailureCode, FieldProblem, failure
from app.contract.job import JobSpec
from app.contract.work import Paths, RunOrder
from worker.training.events import EventLog


class UnreadableOrder(Exception):
    """There is nothing to run; the message names every field that is wrong. Already reported in events.jsonl."""


def read_order(file: str, run_dir: str) -> RunOrder:
    """The order in `file`, to be carried out in `run_dir`. Raises `UnreadableOrder`."""
    folder = Path(run_dir).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    document: Any = None
    try:
        document = json.loads(Path(file).read_bytes())
        is_order = isinstance(document, dict) and "paths" in document
        order = RunOrder.model_validate(document) if is_order else _order_for(JobSpec.model_validate(document))
    except (OSError, ValueError) as error:
        raise _reported(folder, file, error, document) from error
    paths = order.paths.model_copy(update={"run_dir": str(folder)})
    return order.model_copy(update={"spec": order.spec.resolved(), "paths": paths})


def _order_for(spec: JobSpec) -> RunOrder:
    """A person's run: the GPUs of this machine if there are enough, otherwise CPU processes. Its time starts anew."""
    import torch

    here = torch.cuda.device_count() or len(os.sched_getaffinity(0))
    processes = fitting(spec.distributed, here, spec.training.batch_size)
    dataset = spec.dataset.path if isinstance(spec.dataset, Folder) else None
    kind = "cuda" if torch.cuda.device_count() >= processes else "cpu"
    paths = Paths(run_dir="", dataset=dataset)
    return RunOrder(
        spec=spec,
        paths=paths,
        device_kind=kind,  # type: ignore[arg-type]
        devices=list(range(processes)),
        time_left_s=spec.limits.max_duration_s,
    )


def _reported(folder: Path, file: str, error: Exception, document: Any) -> UnreadableOrder:
    problems = list(_problems(error, document)) if isinstance(error, ValidationError) else []
    detail = "; ".join(f"{each.pointer}: {each.detail}" for each in problems) or str(error)
    message = f"{file} cannot be run. {detail}"
    events = EventLog(folder / "events.jsonl")
    events.write(Failed, failure=failure(FailureCode.BAD_SPEC, message, errors=problems))
    events.close()
    return UnreadableOrder(message)


def _problems(error: ValidationError, document: Any) -> Iterator[FieldProblem]:
    for each in error.errors(include_url=False, include_input=False):
        yield FieldProblem(pointer=_pointer(each["loc"], document), detail=each["msg"], code=each["type"])


def _pointer(path: Sequence[str | int], document: Any) -> str:
    """A JSON Pointer into the document: pydantic's path names the chosen kinds too, which stand nowhere in it."""
    parts: list[str] = []
    for index, part in enumerate(path):
        is_last = index == len(path) - 1
        try:
            document = document[part]
        except (KeyError, IndexError, TypeError):
            if not is_last or (isinstance(document, dict) and document.get("kind") == part):
                continue
        parts.append(str(part).replace("~", "~0").replace("/", "~1"))
    return "".join(f"/{part}" for part in parts)
