"""Failed jobs can keep their report; jobs name the one that they are compared with; reports are found by their data.

Revision: 0007, after 0006.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")

SUCCEEDED, ENDED = "ck_jobs_succeeded_has_report", "ck_jobs_only_ended_has_report"
SUCCEEDED_ALONE = "(state = 'succeeded') = (report IS NOT NULL)"


def upgrade() -> None:
    """Let jobs that failed have a report. SQLite copies the table for it, with all else that it has."""
    with op.batch_alter_table("jobs") as batch:
        batch.add_column(sa.Column("baseline_job", ID, nullable=True))
        batch.drop_constraint(op.f(SUCCEEDED), type_="check")
        batch.create_check_constraint(op.f(SUCCEEDED), "state <> 'succeeded' OR report IS NOT NULL")
        batch.create_check_constraint(op.f(ENDED), "report IS NULL OR state IN ('failed', 'succeeded')")
    op.create_index("ix_jobs_baseline_job", "jobs", ["baseline_job"])
    done = sa.text("state = 'succeeded' AND dataset_sha256 IS NOT NULL")
    op.create_index(
        "ix_jobs_measured", "jobs", ["dataset_sha256", "created_at", "id"], sqlite_where=done, postgresql_where=done
    )


def downgrade() -> None:
    """Forget the reports of jobs that failed; their files stay listed."""
    op.drop_index("ix_jobs_measured", "jobs")
    op.drop_index("ix_jobs_baseline_job", "jobs")
    op.execute("UPDATE jobs SET report = NULL, version = version + 1 WHERE state = 'failed' AND report IS NOT NULL")
    with op.batch_alter_table("jobs") as batch:
        batch.drop_constraint(op.f(ENDED), type_="check")
        batch.drop_constraint(op.f(SUCCEEDED), type_="check")
        batch.create_check_constraint(op.f(SUCCEEDED), SUCCEEDED_ALONE)
        batch.drop_column("baseline_job")
