"""Data sets have revisions, imports tell how far they are, jobs the content that they train on.

Revision: 0005, after 0004.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

NUMBERED = """
UPDATE datasets SET revision = (
    SELECT count(*) FROM datasets AS earlier
    WHERE earlier.name = datasets.name AND (earlier.created_at, earlier.id) <= (datasets.created_at, datasets.id)
)
"""

TOLD = """
UPDATE jobs SET dataset_sha256 = (SELECT sha256 FROM datasets WHERE datasets.id = jobs.dataset_id)
WHERE dataset_id IS NOT NULL
"""


def upgrade() -> None:
    """Number the data sets of each name by age. Of earlier jobs, those on a registered set can tell its content."""
    op.add_column("tasks", sa.Column("progress", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("dataset_sha256", sa.Text(), nullable=True))
    op.execute(TOLD)
    op.add_column("datasets", sa.Column("check_number", sa.Integer(), nullable=True))
    op.add_column("datasets", sa.Column("revision", sa.Integer(), nullable=True))
    op.execute(NUMBERED)
    with op.batch_alter_table("datasets") as batch:
        batch.alter_column("revision", existing_type=sa.Integer(), nullable=False)
        batch.create_unique_constraint("uq_datasets_name_revision", ["name", "revision"])
    op.create_index("ix_datasets_name_created_at_id", "datasets", ["name", "created_at", "id"])
    op.create_table(
        "dataset_names",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("last_revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_dataset_names"),
        sqlite_with_rowid=False,
    )
    op.execute("INSERT INTO dataset_names (name, last_revision) SELECT name, max(revision) FROM datasets GROUP BY name")


def downgrade() -> None:
    """Forget the numbers; the data sets of a name are told apart by their ids, as before."""
    op.drop_table("dataset_names")
    op.drop_index("ix_datasets_name_created_at_id", "datasets")
    with op.batch_alter_table("datasets") as batch:
        batch.drop_constraint("uq_datasets_name_revision", type_="unique")
        batch.drop_column("revision")
        batch.drop_column("check_number")
    op.drop_column("jobs", "dataset_sha256")
    op.drop_column("tasks", "progress")
