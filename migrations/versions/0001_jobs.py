"""The jobs, their labels, attempts, data sets and workers.

Revision: 0001, the first.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def upgrade() -> None:
    """Make the tables."""
    _datasets()
    _upkeep_marks()
    _workers()
    _jobs()
    _job_labels()
    _idempotency_keys()
    _attempts()
    _reservations()


def downgrade() -> None:
    """Drop the tables with all that is in them."""
    for table in (
        "reservations",
        "attempts",
        "idempotency_keys",
        "job_labels",
        "jobs",
        "workers",
        "upkeep_marks",
        "datasets",
    ):
        op.drop_table(table)


def _datasets() -> None:
    op.create_table(
        "datasets",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("facts", sa.Text(), nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.CheckConstraint("(state = 'failed') = (failure IS NOT NULL)", name=op.f("ck_datasets_failed_has_failure")),
        sa.CheckConstraint("(state = 'ready') = (facts IS NOT NULL)", name=op.f("ck_datasets_ready_has_facts")),
        sa.CheckConstraint("(state = 'ready') = (sha256 IS NOT NULL)", name=op.f("ck_datasets_ready_has_hash")),
        sa.CheckConstraint("state IN ('importing', 'ready', 'failed')", name=op.f("ck_datasets_state_is_known")),
        sa.PrimaryKeyConstraint("id", name="pk_datasets"),
    )
    op.create_index("ix_datasets_created_at_id", "datasets", ["created_at", "id"])


def _upkeep_marks() -> None:
    op.create_table(
        "upkeep_marks",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_upkeep_marks"),
        sqlite_with_rowid=False,
    )


def _workers() -> None:
    op.create_table(
        "workers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("devices", sa.Text(), nullable=False),
        sa.Column("versions", sa.Text(), nullable=False),
        sa.Column("last_seen_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_workers"),
        sqlite_with_rowid=False,
    )


def _jobs() -> None:
    op.create_table("jobs", *_job_columns(), *_job_constraints())
    op.create_index("ix_jobs_created_at_id", "jobs", ["created_at", "id"])
    op.create_index("ix_jobs_dataset", "jobs", ["dataset_id"])
    op.create_index("ix_jobs_due", "jobs", ["available_at"], **_where("state = 'queued'"))
    op.create_index("ix_jobs_lease", "jobs", ["lease_until"], **_where("lease_until IS NOT NULL"))
    op.create_index("ix_jobs_model_job", "jobs", ["model_job"])
    op.create_index("ix_jobs_name_state_created_at_id", "jobs", ["name", "state", "created_at", "id"])
    op.create_index("ix_jobs_queue", "jobs", ["rank", "created_at", "id"], **_where("state = 'queued'"))
    op.create_index("ix_jobs_resume_job", "jobs", ["resume_job"])
    op.create_index("ix_jobs_state_created_at_id", "jobs", ["state", "created_at", "id"])


def _job_columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("version", NUMBER, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("stop_requested", sa.Text(), nullable=True),
        sa.Column("phase", sa.Text(), nullable=True),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.Column("available_at", sa.Double(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("cloned_from", ID, nullable=True),
        sa.Column("progress", sa.Text(), nullable=True),
        sa.Column("latest_metrics", sa.Text(), nullable=False),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("report", sa.Text(), nullable=True),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("processes", sa.Integer(), nullable=False),
        sa.Column("needs_gpu", sa.Boolean(), nullable=False),
        sa.Column("dataset_id", ID, nullable=True),
        sa.Column("dataset_path", sa.Text(), nullable=True),
        sa.Column("model_job", ID, nullable=True),
        sa.Column("resume_job", ID, nullable=True),
        sa.Column("worker_id", sa.Text(), nullable=True),
        sa.Column("token_hash", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("deadline_at", sa.Double(), nullable=True),
        sa.Column("event_seq", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("barren_attempts", sa.Integer(), nullable=False),
        sa.Column("spent_s", sa.Double(), nullable=False),
    ]


def _job_constraints() -> list[sa.Constraint]:
    return [
        sa.CheckConstraint("(state = 'failed') = (failure IS NOT NULL)", name=op.f("ck_jobs_failed_has_failure")),
        sa.CheckConstraint("(state = 'succeeded') = (report IS NOT NULL)", name=op.f("ck_jobs_succeeded_has_report")),
        sa.CheckConstraint(
            "(state IN ('cancelled', 'failed', 'succeeded')) = (finished_at IS NOT NULL)",
            name=op.f("ck_jobs_final_has_end"),
        ),
        sa.CheckConstraint(
            "(state IN ('running', 'starting')) = (deadline_at IS NOT NULL)", name=op.f("ck_jobs_active_has_deadline")
        ),
        sa.CheckConstraint(
            "(state IN ('running', 'starting')) = (lease_until IS NOT NULL)", name=op.f("ck_jobs_active_has_lease")
        ),
        sa.CheckConstraint(
            "(state IN ('running', 'starting')) = (token_hash IS NOT NULL)", name=op.f("ck_jobs_active_has_token")
        ),
        sa.CheckConstraint(
            "(state IN ('running', 'starting')) = (worker_id IS NOT NULL)", name=op.f("ck_jobs_active_has_worker")
        ),
        sa.CheckConstraint("state <> 'running' OR started_at IS NOT NULL", name=op.f("ck_jobs_running_was_started")),
        sa.CheckConstraint(
            "state IN ('cancelled', 'failed', 'queued', 'running', 'starting', 'succeeded')",
            name=op.f("ck_jobs_state_is_known"),
        ),
        sa.CheckConstraint(
            "stop_requested IS NULL OR state IN ('running', 'starting')", name=op.f("ck_jobs_only_active_is_stopped")
        ),
        sa.CheckConstraint(
            "stop_requested IS NULL OR stop_requested IN ('cancel')", name=op.f("ck_jobs_wish_is_known")
        ),
        sa.CheckConstraint("attempt >= 0 AND version >= 1 AND processes >= 1", name=op.f("ck_jobs_counts_are_sane")),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name="fk_jobs_dataset_id", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
    ]


def _job_labels() -> None:
    op.create_table(
        "job_labels",
        sa.Column("job_id", ID, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_labels_job_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "key", name="pk_job_labels"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_job_labels_key_value_state_created_at_job_id",
        "job_labels",
        ["key", "value", "state", "created_at", "job_id"],
    )


def _idempotency_keys() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("body_sha256", sa.Text(), nullable=False),
        sa.Column("job_id", ID, nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"],
            ["jobs.id"],
            name="fk_idempotency_keys_job_id",
            ondelete="CASCADE",
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.PrimaryKeyConstraint("key", name="pk_idempotency_keys"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    op.create_index("ix_idempotency_keys_job_id", "idempotency_keys", ["job_id"])


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("job_id", ID, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("worker_id", sa.Text(), nullable=False),
        sa.Column("devices", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("reported_seq", sa.Integer(), nullable=False),
        sa.Column("saved_checkpoint", sa.Boolean(), nullable=False),
        sa.CheckConstraint("(state = 'open') = (finished_at IS NULL)", name=op.f("ck_attempts_closed_has_end")),
        sa.CheckConstraint(
            "state IN ('open', 'succeeded', 'failed', 'released', 'lost')", name=op.f("ck_attempts_state_is_known")
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_attempts_job_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "attempt", name="pk_attempts"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_attempts_one_open", "attempts", ["job_id"], unique=True, **_where("state = 'open'"))


def _reservations() -> None:
    op.create_table(
        "reservations",
        sa.Column("worker_id", sa.Text(), nullable=False),
        sa.Column("device_index", sa.Integer(), nullable=False),
        sa.Column("job_id", ID, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id", "attempt"],
            ["attempts.job_id", "attempts.attempt"],
            name="fk_reservations_job_id_attempt",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["worker_id"], ["workers.id"], name="fk_reservations_worker_id"),
        sa.PrimaryKeyConstraint("worker_id", "device_index", name="pk_reservations"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_reservations_job_id_attempt", "reservations", ["job_id", "attempt"])
