"""Jobs can be paused; API keys.

Revision: 0004, after 0003.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")

STATES = "'cancelled', 'failed', 'queued', 'running', 'starting', 'succeeded'"
STATES_WITH_PAUSED = "'cancelled', 'failed', 'paused', 'queued', 'running', 'starting', 'succeeded'"


def upgrade() -> None:
    """Let jobs be paused, and make the table of keys."""
    _replace_checks(STATES_WITH_PAUSED, "'cancel', 'pause'")
    _api_keys()


def downgrade() -> None:
    """Drop the keys. What was paused is queued again, since the version before knows no other state to wait in."""
    op.drop_table("api_keys")
    op.execute("UPDATE job_labels SET state = 'queued' WHERE state = 'paused'")
    op.execute("UPDATE jobs SET state = 'queued', version = version + 1 WHERE state = 'paused'")
    op.execute("UPDATE jobs SET stop_requested = NULL, version = version + 1 WHERE stop_requested = 'pause'")
    _replace_checks(STATES, "'cancel'")


def _api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key_hash", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.Column("last_used_at", sa.Double(), nullable=True),
        sa.CheckConstraint("scopes IN ('read', 'read write', 'write')", name=op.f("ck_api_keys_scopes_are_known")),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("key_hash", name="uq_api_keys_key_hash"),
        sqlite_with_rowid=False,
    )


def _replace_checks(states: str, wishes: str) -> None:
    """Of the jobs. SQLite copies the table for it, with all else that it has."""
    checks = {
        "state_is_known": f"state IN ({states})",
        "wish_is_known": f"stop_requested IS NULL OR stop_requested IN ({wishes})",
    }
    with op.batch_alter_table("jobs") as batch:
        for name, condition in checks.items():
            batch.drop_constraint(op.f(f"ck_jobs_{name}"), type_="check")
            batch.create_check_constraint(op.f(f"ck_jobs_{name}"), condition)
