"""What jobs leave: events, checkpoints, artifacts; background tasks.

Revision: 0002, after 0001.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables."""
    _tasks()
    _events()
    _checkpoints()
    _artifacts()


def downgrade() -> None:
    """Drop the tables with all that is in them."""
    for table in ("artifacts", "checkpoints", "events", "tasks"):
        op.drop_table(table)


def _tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("id", ID, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("input", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("dataset_id", ID, nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("worker_id", sa.Text(), nullable=True),
        sa.Column("token_hash", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.CheckConstraint("(kind = 'import') = (dataset_id IS NOT NULL)", name=op.f("ck_tasks_import_has_dataset")),
        sa.CheckConstraint("(state = 'done') = (result IS NOT NULL)", name=op.f("ck_tasks_done_has_result")),
        sa.CheckConstraint("(state = 'failed') = (failure IS NOT NULL)", name=op.f("ck_tasks_failed_has_failure")),
        sa.CheckConstraint("(state = 'running') = (lease_until IS NOT NULL)", name=op.f("ck_tasks_running_has_lease")),
        sa.CheckConstraint(
            "(state IN ('done', 'failed')) = (finished_at IS NOT NULL)", name=op.f("ck_tasks_over_has_end")
        ),
        sa.CheckConstraint("kind IN ('plan', 'import')", name=op.f("ck_tasks_kind_is_known")),
        sa.CheckConstraint("state <> 'running' OR token_hash IS NOT NULL", name=op.f("ck_tasks_running_has_token")),
        sa.CheckConstraint("state IN ('queued', 'running', 'done', 'failed')", name=op.f("ck_tasks_state_is_known")),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name="fk_tasks_dataset_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_tasks"),
    )
    op.create_index("ix_tasks_dataset_id", "tasks", ["dataset_id"])
    op.create_index("ix_tasks_state_created_at_id", "tasks", ["state", "created_at", "id"])
    op.create_index("ix_tasks_worker_id_state", "tasks", ["worker_id", "state"])


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("position", NUMBER, autoincrement=True, nullable=False),
        sa.Column("job_id", ID, nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("xact", NUMBER, nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_events_job_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("position", name="pk_events"),
        sa.UniqueConstraint("job_id", "seq", name="uq_events_job_id_seq"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_xact_position", "events", ["xact", "position"])


def _checkpoints() -> None:
    op.create_table(
        "checkpoints",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("job_id", ID, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("step", NUMBER, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("size_bytes", NUMBER, nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id", "attempt"],
            ["attempts.job_id", "attempts.attempt"],
            name="fk_checkpoints_job_id_attempt",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_checkpoints"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_checkpoints_job_id_id", "checkpoints", ["job_id", "id"])


def _artifacts() -> None:
    op.create_table(
        "artifacts",
        sa.Column("job_id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("size_bytes", NUMBER, nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id", "attempt"],
            ["attempts.job_id", "attempts.attempt"],
            name="fk_artifacts_job_id_attempt",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("job_id", "name", name="pk_artifacts"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_artifacts_job_id_attempt", "artifacts", ["job_id", "attempt"])
