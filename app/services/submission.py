"""What a spec refers to, found before a job is accepted. What only a network can tell comes later."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from app.contract import file_table
from app.contract.compression import Distillation
from app.contract.data import Builtin, Data, Folder, Registered
from app.contract.failures import FailureCode
from app.contract.job import JobSpec
from app.contract.models import Checkpoint
from app.contract.states import JobState
from app.contract.training import JobBaseline
from app.contract.work import Paths, Split
from app.errors import InvalidSpec
from app.services.folders import checked_folder
from app.services.job_view import spec_of
from app.settings import Settings
from app.store import datasets, files, jobs
from app.store.session import settings_of

MODEL_FILE = "model.safetensors"
RESUME_FROM = 10
"""Checkpoints of a job that a run is told of. Most older ones are deleted by then; a row stays."""


@dataclass(frozen=True)
class References:
    """What the spec names, as it is now. Kept with the job, so that a claim need not look again."""

    dataset_id: str | None = None
    dataset_path: str | None = None
    model_job: str | None = None
    teacher_job: str | None = None
    dataset_sha256: str | None = None
    baseline_job: str | None = None


def resolve(session: Session, spec: JobSpec) -> References:
    """The things that the spec names, or `InvalidSpec` with the pointer to the one that is not as it must be.

    In a writing transaction they cannot be deleted before it ends. The data set is locked first: deleting one locks the
    set and then the jobs that name it, and two orders deadlock.
    """
    found = _dataset(session, spec.dataset)
    if isinstance(spec.model, Checkpoint):
        found = replace(found, model_job=_model_of(session, spec, spec.model.job, "/model/job").id)
    found = replace(found, teacher_job=_teacher(session, spec))
    if isinstance(spec.baseline, JobBaseline):
        found = replace(found, baseline_job=_checked_baseline(session, spec, spec.baseline.job, found))
    return found


def _dataset(session: Session, dataset: Data) -> References:
    match dataset:
        case Registered(id=dataset_id):
            row = _registered(session, dataset_id)
            return References(dataset_id, str(row.path), dataset_sha256=row.sha256)
        case Folder(path=path):
            return References(dataset_path=str(checked_folder(settings_of(session), path, "/dataset/path")))
        case Builtin():
            return References()


def _teacher(session: Session, spec: JobSpec) -> str | None:
    for index, method in enumerate(spec.compression):
        if isinstance(method, Distillation):
            return str(_model_of(session, spec, method.job, f"/compression/{index}/job").id)
    return None


def paths(
    session: Session, settings: Settings, run_dir: Path, refers: References, resume_jobs: tuple[str, ...] = ()
) -> Paths:
    """Where a run finds what its spec names, and the newest checkpoints of `resume_jobs`, the first job's first."""
    saved = _checkpoints(session, settings, resume_jobs)
    row = datasets.find(session, refers.dataset_id) if refers.dataset_id else None
    return Paths(
        run_dir=str(run_dir),
        dataset=refers.dataset_path,
        dataset_sha256=row.sha256 if row else None,
        dataset_files=_table(settings, row) if row else None,
        model=_model_folder(session, settings, refers.model_job) if refers.model_job else None,
        baseline=_model_folder(session, settings, refers.baseline_job) if refers.baseline_job else None,
        teacher=_model_folder(session, settings, refers.teacher_job) if refers.teacher_job else None,
        resume=saved[0] if saved else None,
        resume_older=saved[1:],
        weights=str(settings.weights_dir),
    )


def _table(settings: Settings, row: Row[Any]) -> str | None:
    return None if row.check_number is None else str(settings.check_dir(row.id, row.check_number) / file_table.FILE)


def _registered(session: Session, dataset_id: str) -> Row[Any]:
    row = datasets.keep(session, dataset_id)
    if row is None:
        detail = "There is no such data set: GET /v1/datasets lists those that are there."
        raise InvalidSpec.at("/dataset/id", "unknown_dataset", detail)
    if row.state != "ready":
        detail = f"The data set is {row.state}: wait until its state is ready, or see its failure."
        raise InvalidSpec.at("/dataset/id", "dataset_not_ready", detail)
    return row


def split_of(session: Session, job_id: str | None) -> Split | None:
    """Which images an earlier job held out."""
    row = jobs.find(session, job_id) if job_id else None
    if row is None:
        return None
    spec = spec_of(row.spec)
    return Split(seed=spec.training.seed, validation_fraction=spec.dataset.validation_fraction)


def _model_of(session: Session, spec: JobSpec, job_id: str, pointer: str) -> Row[Any]:
    """The job whose model is wanted: one that succeeded, or was verified like one that did and missed a gate; trained
    with the same library, since neither reads the other's networks.
    """
    row = jobs.keep(session, job_id)
    if row is None:
        raise InvalidSpec.at(pointer, "unknown_job", "There is no such job.")
    missed_a_gate = row.failure is not None and row.failure["code"] == FailureCode.GATE_MISSED
    if row.state != JobState.SUCCEEDED and not missed_a_gate:
        detail = f"That job is {row.state}: only one that succeeded, or missed a gate, leaves a model that can be used."
        raise InvalidSpec.at(pointer, "job_not_succeeded", detail)
    if (theirs := spec_of(row.spec).framework) != spec.framework:
        detail = f"That job was trained with {theirs}, this one is with {spec.framework}: use one of the same library."
        raise InvalidSpec.at(pointer, "other_framework", detail)
    return row


def _checked_baseline(session: Session, spec: JobSpec, job_id: str, refers: References) -> str:
    pointer = "/baseline/job"
    row = _model_of(session, spec, job_id, pointer)
    if files.artifact(session, job_id, MODEL_FILE) is None:
        raise InvalidSpec.at(pointer, "no_model", f"That job has left no {MODEL_FILE}: compare with another one.")
    if row.dataset_sha256 and refers.dataset_sha256 and row.dataset_sha256 != refers.dataset_sha256:
        detail = "That job was trained on other data: its accuracy does not compare. Use a job on the same data."
        raise InvalidSpec.at(pointer, "other_data", detail)
    return job_id


def _model_folder(session: Session, settings: Settings, job_id: str) -> str | None:
    row = files.artifact(session, job_id, MODEL_FILE)
    return str((settings.attempt_dir(job_id, row.attempt) / row.path).parent) if row else None


def _checkpoints(session: Session, settings: Settings, job_ids: tuple[str, ...]) -> list[str]:
    return [
        str(settings.attempt_dir(job_id, row.attempt) / row.path)
        for job_id in job_ids
        for row in files.newest_checkpoints(session, job_id, RESUME_FROM)
    ]
