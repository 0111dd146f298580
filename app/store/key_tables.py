"""The table of API keys."""

from sqlalchemy import CheckConstraint, Column, Table, Text, UniqueConstraint

from app.store.tables import metadata
from app.store.types import Id, Time

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False),
    Column("key_hash", Text, nullable=False),  # SHA-256 of the whole key, which nobody but its owner has
    Column("scopes", Text, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("expires_at", Time),
    Column("revoked_at", Time),
    Column("last_used_at", Time),
    CheckConstraint("scopes IN ('read', 'read write', 'write')", name="scopes_are_known"),
    UniqueConstraint("key_hash"),
    sqlite_with_rowid=False,
)
