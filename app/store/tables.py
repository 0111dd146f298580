"""All tables but those of data sets, metrics and API keys. Each CHECK is a promise that no code can break.

Times are seconds since 1970 (`Time`), by the database's clock. Every index says which question it answers.
"""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from app.contract.states import ACTIVE, FINAL, JobState, StopWish
from app.store.types import Id, Json, Number, Time

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _names(values: object) -> str:
    return ", ".join(f"'{value}'" for value in sorted(values))  # type: ignore[call-overload]


def same(left: str, right: str) -> str:
    """Both or neither."""
    return f"({left}) = ({right})"


MEASURED = text("state = 'succeeded' AND dataset_sha256 IS NOT NULL")
"""The second half keeps planners from this index where no data set is asked for: they would have to sort behind it."""

jobs = Table(
    "jobs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False),
    Column("labels", Json, nullable=False),  # for the view; job_labels is for the filter
    Column("rank", Integer, nullable=False),  # -priority: the queue is then one ascending index
    Column("version", Number, nullable=False),
    Column("state", Text, nullable=False),
    Column("stop_requested", Text),
    Column("phase", Text),
    Column("spec", Text, nullable=False),  # JSON, parsed once and cached by its text
    Column("created_at", Time, nullable=False),
    Column("started_at", Time),
    Column("finished_at", Time),
    Column("available_at", Time, nullable=False),  # queued jobs may be claimed from then on
    Column("attempt", Integer, nullable=False),
    Column("cloned_from", Id),
    Column("progress", Json),
    Column("latest_metrics", Json, nullable=False),
    Column("failure", Json),
    Column("report", Json),
    Column("traceparent", Text),
    Column("request_id", Text),
    # what a claim must know without reading the spec
    Column("processes", Integer, nullable=False),
    Column("needs_gpu", Boolean, nullable=False),
    Column("needs_extra", Text),  # an optional library; null: what every worker has
    Column("dataset_id", Id, ForeignKey("datasets.id", ondelete="SET NULL")),
    Column("dataset_path", Text),  # resolved and checked when the job was submitted
    Column("dataset_sha256", Text),  # of what it trains on: told by its run
    Column("model_job", Id),
    Column("teacher_job", Id),
    Column("baseline_job", Id),
    Column("resume_job", Id),
    # the open attempt's lease
    Column("worker_id", Text),
    Column("token_hash", Text),
    Column("lease_until", Time),
    Column("deadline_at", Time),  # heartbeats extend the lease no further
    # bookkeeping
    Column("event_seq", Integer, nullable=False),
    Column("failures", Integer, nullable=False),  # attempts that count against limits.max_attempts
    Column("barren_attempts", Integer, nullable=False),  # in a row, without a new checkpoint
    Column("spent_s", Double, nullable=False),  # of limits.max_duration_s, by closed attempts
    CheckConstraint(f"state IN ({_names(JobState)})", name="state_is_known"),
    CheckConstraint(f"stop_requested IS NULL OR stop_requested IN ({_names(StopWish)})", name="wish_is_known"),
    CheckConstraint(f"stop_requested IS NULL OR state IN ({_names(ACTIVE)})", name="only_active_is_stopped"),
    CheckConstraint(same(f"state IN ({_names(ACTIVE)})", "token_hash IS NOT NULL"), name="active_has_token"),
    CheckConstraint(same(f"state IN ({_names(ACTIVE)})", "lease_until IS NOT NULL"), name="active_has_lease"),
    CheckConstraint(same(f"state IN ({_names(ACTIVE)})", "worker_id IS NOT NULL"), name="active_has_worker"),
    CheckConstraint(same(f"state IN ({_names(ACTIVE)})", "deadline_at IS NOT NULL"), name="active_has_deadline"),
    CheckConstraint(same(f"state IN ({_names(FINAL)})", "finished_at IS NOT NULL"), name="final_has_end"),
    CheckConstraint(same("state = 'failed'", "failure IS NOT NULL"), name="failed_has_failure"),
    CheckConstraint("state <> 'succeeded' OR report IS NOT NULL", name="succeeded_has_report"),
    CheckConstraint("report IS NULL OR state IN ('failed', 'succeeded')", name="only_ended_has_report"),
    CheckConstraint("state <> 'running' OR started_at IS NOT NULL", name="running_was_started"),
    CheckConstraint("attempt >= 0 AND version >= 1 AND processes >= 1", name="counts_are_sane"),
    # pages of the list: see store/listing.py
    Index(None, "created_at", "id"),
    Index(None, "state", "created_at", "id"),
    Index(None, "name", "state", "created_at", "id"),
    # the claim, and a job's place in the queue
    Index("ix_jobs_queue", "rank", "created_at", "id", sqlite_where=text("state = 'queued'"),
          postgresql_where=text("state = 'queued'")),
    Index("ix_jobs_due", "available_at", sqlite_where=text("state = 'queued'"),
          postgresql_where=text("state = 'queued'")),
    # upkeep: leases that ended
    Index("ix_jobs_lease", "lease_until", sqlite_where=text("lease_until IS NOT NULL"),
          postgresql_where=text("lease_until IS NOT NULL")),
    # may this data set, or this job's files, be deleted?
    Index("ix_jobs_dataset", "dataset_id"),
    Index("ix_jobs_model_job", "model_job"),
    Index("ix_jobs_teacher_job", "teacher_job"),
    Index("ix_jobs_baseline_job", "baseline_job"),
    Index("ix_jobs_resume_job", "resume_job"),
    # the newest reports on the same data: store/comparisons.py
    Index("ix_jobs_measured", "dataset_sha256", "created_at", "id", sqlite_where=MEASURED, postgresql_where=MEASURED),
)  # fmt: skip

job_labels = Table(
    "job_labels",
    metadata,
    Column("job_id", Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    # the job's own, repeated so that a page by label, or by label and state, is a walk over one index
    Column("state", Text, nullable=False),
    Column("created_at", Time, nullable=False),
    Index(None, "key", "value", "state", "created_at", "job_id"),
    sqlite_with_rowid=False,
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("key", Text, primary_key=True),
    Column("body_sha256", Text, nullable=False),
    # deferred: the key is written first, since it decides who makes the job
    Column("job_id", Id, ForeignKey("jobs.id", ondelete="CASCADE", deferrable=True, initially="DEFERRED"),
           nullable=False, index=True),
    Column("created_at", Time, nullable=False, index=True),
    sqlite_with_rowid=False,
)  # fmt: skip

attempts = Table(
    "attempts",
    metadata,
    Column("job_id", Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("worker_id", Text, nullable=False),
    Column("devices", Json, nullable=False),
    Column("state", Text, nullable=False),
    Column("token_hash", Text, nullable=False),
    Column("started_at", Time, nullable=False),
    Column("finished_at", Time),
    Column("failure", Json),
    Column("reported_seq", Integer, nullable=False),
    Column("saved_checkpoint", Boolean, nullable=False),
    CheckConstraint("state IN ('open', 'succeeded', 'failed', 'released', 'lost')", name="state_is_known"),
    CheckConstraint(same("state = 'open'", "finished_at IS NULL"), name="closed_has_end"),
    Index("ix_attempts_one_open", "job_id", unique=True, sqlite_where=text("state = 'open'"),
          postgresql_where=text("state = 'open'")),
    sqlite_with_rowid=False,
)  # fmt: skip

reservations = Table(
    "reservations",
    metadata,
    Column("worker_id", Text, ForeignKey("workers.id"), primary_key=True),
    Column("device_index", Integer, primary_key=True),  # the key: no device is reserved twice
    Column("job_id", Id, nullable=False),
    Column("attempt", Integer, nullable=False),
    ForeignKeyConstraint(["job_id", "attempt"], ["attempts.job_id", "attempts.attempt"], ondelete="CASCADE"),
    Index(None, "job_id", "attempt"),
    sqlite_with_rowid=False,
)

workers = Table(
    "workers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("devices", Json, nullable=False),
    Column("versions", Json, nullable=False),
    Column("last_seen_at", Time, nullable=False),
    Column("extras", Json),  # optional libraries; null: none
    sqlite_with_rowid=False,
)

tasks = Table(
    "tasks",
    metadata,
    Column("id", Id, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("input", Json, nullable=False),
    Column("result", Json),
    Column("failure", Json),
    Column("dataset_id", Id, ForeignKey("datasets.id", ondelete="CASCADE")),
    Column("tries", Integer, nullable=False),
    Column("progress", Json),  # of the try that runs
    Column("worker_id", Text),
    Column("token_hash", Text),  # kept when the task is over, so that a repeated finish is known
    Column("lease_until", Time),
    Column("created_at", Time, nullable=False),
    Column("finished_at", Time),
    Column("needs_extra", Text),  # as for jobs
    CheckConstraint("kind IN ('plan', 'import', 'preview')", name="kind_is_known"),
    CheckConstraint("state IN ('queued', 'running', 'done', 'failed')", name="state_is_known"),
    CheckConstraint(same("state = 'running'", "lease_until IS NOT NULL"), name="running_has_lease"),
    CheckConstraint("state <> 'running' OR token_hash IS NOT NULL", name="running_has_token"),
    CheckConstraint(same("state IN ('done', 'failed')", "finished_at IS NOT NULL"), name="over_has_end"),
    CheckConstraint(same("state = 'done'", "result IS NOT NULL"), name="done_has_result"),
    CheckConstraint(same("state = 'failed'", "failure IS NOT NULL"), name="failed_has_failure"),
    CheckConstraint(same("kind = 'import'", "dataset_id IS NOT NULL"), name="import_has_dataset"),
    Index(None, "state", "created_at", "id"),
    Index(None, "dataset_id"),
    Index(None, "worker_id", "state"),
)

events = Table(
    "events",
    metadata,
    Column("position", Number, primary_key=True, autoincrement=True),
    Column("job_id", Id, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("seq", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("time", Time, nullable=False),
    Column("data", Json, nullable=False),
    Column("xact", Number, nullable=False),  # the writing transaction: see types.transaction_number
    UniqueConstraint("job_id", "seq"),
    Index(None, "xact", "position"),
    sqlite_autoincrement=True,  # positions are never given twice, also after a deletion
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column("job_id", Id, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("phase", Text, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("step", Number, nullable=False),
    Column("path", Text, nullable=False),
    Column("size_bytes", Number, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("created_at", Time, nullable=False),
    ForeignKeyConstraint(["job_id", "attempt"], ["attempts.job_id", "attempts.attempt"], ondelete="CASCADE"),
    Index(None, "job_id", "id"),
    sqlite_autoincrement=True,
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("job_id", Id, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("attempt", Integer, nullable=False),
    Column("path", Text, nullable=False),
    Column("size_bytes", Number, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("media_type", Text, nullable=False),
    ForeignKeyConstraint(["job_id", "attempt"], ["attempts.job_id", "attempts.attempt"], ondelete="CASCADE"),
    Index(None, "job_id", "attempt"),
    sqlite_with_rowid=False,
)

upkeep_marks = Table(
    "upkeep_marks",
    metadata,
    Column("name", Text, primary_key=True),
    Column("time", Time, nullable=False),  # when any replica last did it
    sqlite_with_rowid=False,
)
