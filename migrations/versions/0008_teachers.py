"""Jobs may learn from the model of an earlier one.

Revision: 0008, after 0007.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Remember the teacher with the job, so that it is not deleted while it is needed."""
    op.add_column("jobs", sa.Column("teacher_job", ID, nullable=True))
    op.create_index("ix_jobs_teacher_job", "jobs", ["teacher_job"])


def downgrade() -> None:
    """Forget teachers; the spec still names them."""
    op.drop_index("ix_jobs_teacher_job", "jobs")
    op.drop_column("jobs", "teacher_job")
