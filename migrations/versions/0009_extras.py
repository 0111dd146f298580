"""Jobs and tasks may need an optional library of their worker.

Revision: 0009, after 0008.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing that was stored before needs one, and no worker has told of any."""
    op.add_column("jobs", sa.Column("needs_extra", sa.Text(), nullable=True))
    op.add_column("tasks", sa.Column("needs_extra", sa.Text(), nullable=True))
    op.add_column("workers", sa.Column("extras", sa.Text(), nullable=True))


def downgrade() -> None:
    """Forget what is needed: the version before gives out such work to any worker, where it fails as a bad spec."""
    op.drop_column("workers", "extras")
    op.drop_column("tasks", "needs_extra")
    op.drop_column("jobs", "needs_extra")
