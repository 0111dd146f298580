"""Metric points and their sums.

Revision: 0003, after 0002.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables."""
    _metric_sets()
    _metric_series()
    _metric_points()
    _metric_buckets()


def downgrade() -> None:
    """Drop the tables with all that is in them."""
    for table in ("metric_buckets", "metric_points", "metric_series", "metric_sets"):
        op.drop_table(table)


def _metric_sets() -> None:
    op.create_table(
        "metric_sets",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("job_id", ID, nullable=True),
        sa.Column("arrivals", NUMBER, nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_metric_sets_job_id", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name="pk_metric_sets"),
        sa.UniqueConstraint("job_id", name="uq_metric_sets_job_id"),
        sqlite_autoincrement=True,
    )


def _metric_series() -> None:
    op.create_table(
        "metric_series",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("set_id", NUMBER, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("last_step", NUMBER, nullable=False),
        sa.ForeignKeyConstraint(["set_id"], ["metric_sets.id"], name="fk_metric_series_set_id"),
        sa.PrimaryKeyConstraint("id", name="pk_metric_series"),
        sa.UniqueConstraint("set_id", "name", name="uq_metric_series_set_id_name"),
        sqlite_autoincrement=True,
    )


def _metric_points() -> None:
    op.create_table(
        "metric_points",
        sa.Column("series_id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("step", NUMBER, autoincrement=False, nullable=False),
        sa.Column("set_id", NUMBER, nullable=False),
        sa.Column("arrival", NUMBER, nullable=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.CheckConstraint("(kind = 0) = (value IS NOT NULL)", name=op.f("ck_metric_points_finite_has_value")),
        sa.ForeignKeyConstraint(["series_id"], ["metric_series.id"], name="fk_metric_points_series_id"),
        sa.PrimaryKeyConstraint("series_id", "step", name="pk_metric_points"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_metric_points_set_id_arrival", "metric_points", ["set_id", "arrival"])


def _metric_buckets() -> None:
    op.create_table(
        "metric_buckets",
        sa.Column("series_id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("level", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("bucket", NUMBER, autoincrement=False, nullable=False),
        sa.Column("last_step", NUMBER, nullable=False),
        sa.Column("last_time", sa.Double(), nullable=False),
        sa.Column("finite", NUMBER, nullable=False),
        sa.Column("mean", sa.Double(), nullable=True),
        sa.Column("low", sa.Double(), nullable=True),
        sa.Column("high", sa.Double(), nullable=True),
        sa.Column("nans", NUMBER, nullable=False),
        sa.Column("infinities", NUMBER, nullable=False),
        sa.Column("negative_infinities", NUMBER, nullable=False),
        sa.ForeignKeyConstraint(["series_id"], ["metric_series.id"], name="fk_metric_buckets_series_id"),
        sa.PrimaryKeyConstraint("series_id", "level", "bucket", name="pk_metric_buckets"),
        sqlite_with_rowid=False,
    )
