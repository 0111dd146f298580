"""The tables of metrics: points as they came, and sums of them by powers of ten for charts."""

from sqlalchemy import CheckConstraint, Column, Double, ForeignKey, Index, SmallInteger, Table, Text, UniqueConstraint

from app.store.tables import metadata, same
from app.store.types import Id, Number, Time

metric_sets = Table(
    "metric_sets",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    # null when the job was deleted: upkeep then removes the points in portions, so that no delete holds the writer long
    Column("job_id", Id, ForeignKey("jobs.id", ondelete="SET NULL"), unique=True),
    Column("arrivals", Number, nullable=False),
    sqlite_autoincrement=True,
)

metric_series = Table(
    "metric_series",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column("set_id", Number, ForeignKey("metric_sets.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("last_step", Number, nullable=False),
    UniqueConstraint("set_id", "name"),
    sqlite_autoincrement=True,
)

metric_points = Table(
    "metric_points",
    metadata,
    Column("series_id", Number, ForeignKey("metric_series.id"), primary_key=True, autoincrement=False),
    Column("step", Number, primary_key=True, autoincrement=False),
    Column("set_id", Number, nullable=False),
    Column("arrival", Number, nullable=False),  # per set; a step run again arrives again
    Column("time", Time, nullable=False),
    Column("value", Double),  # null when it is not finite: SQLite stores no NaN, PostgreSQL ranks it first
    Column("kind", SmallInteger, nullable=False),  # 0 finite, 1 NaN, 2 infinity, 3 -infinity
    CheckConstraint(same("kind = 0", "value IS NOT NULL"), name="finite_has_value"),
    Index(None, "set_id", "arrival"),
    sqlite_with_rowid=False,
)

metric_buckets = Table(
    "metric_buckets",
    metadata,
    Column("series_id", Number, ForeignKey("metric_series.id"), primary_key=True, autoincrement=False),
    Column("level", SmallInteger, primary_key=True, autoincrement=False),  # a bucket spans 10 ** level steps
    Column("bucket", Number, primary_key=True, autoincrement=False),  # (step - 1) // 10 ** level
    Column("last_step", Number, nullable=False),
    Column("last_time", Time, nullable=False),
    Column("finite", Number, nullable=False),
    Column("mean", Double),  # of the finite values; a mean cannot overflow as a sum can
    Column("low", Double),
    Column("high", Double),
    Column("nans", Number, nullable=False),
    Column("infinities", Number, nullable=False),
    Column("negative_infinities", Number, nullable=False),
    sqlite_with_rowid=False,
)
