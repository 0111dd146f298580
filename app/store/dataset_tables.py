"""The tables of data sets: revisions of a name, which never change once their import is over."""

from sqlalchemy import CheckConstraint, Column, Index, Integer, Table, Text, UniqueConstraint

from app.store.tables import metadata, same
from app.store.types import Id, Json, Time

datasets = Table(
    "datasets",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("source", Json, nullable=False),
    Column("path", Text, nullable=False),  # resolved and checked when it was registered
    Column("state", Text, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("sha256", Text),  # of the content that was checked: what a job on this set must find
    Column("facts", Json),
    Column("failure", Json),
    Column("check_number", Integer),  # of the try that ended the import: its folder has the table of files
    CheckConstraint("state IN ('importing', 'ready', 'failed')", name="state_is_known"),
    CheckConstraint(same("state = 'ready'", "facts IS NOT NULL"), name="ready_has_facts"),
    CheckConstraint(same("state = 'ready'", "sha256 IS NOT NULL"), name="ready_has_hash"),
    CheckConstraint(same("state = 'failed'", "failure IS NOT NULL"), name="failed_has_failure"),
    UniqueConstraint("name", "revision"),
    Index(None, "created_at", "id"),
    Index(None, "name", "created_at", "id"),
)

dataset_names = Table(
    "dataset_names",
    metadata,
    Column("name", Text, primary_key=True),
    Column("last_revision", Integer, nullable=False),  # ever given: that of a deleted data set is not given again
    sqlite_with_rowid=False,
)
