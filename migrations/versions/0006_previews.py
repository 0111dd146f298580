"""Previews are background tasks.

Revision: 0006, after 0005.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

NAME = "ck_tasks_kind_is_known"


def upgrade() -> None:
    """Let tasks be previews."""
    _replace_check("'plan', 'import', 'preview'")


def downgrade() -> None:
    """Forget the previews: whoever waits for one asks again."""
    op.execute("DELETE FROM tasks WHERE kind = 'preview'")
    _replace_check("'plan', 'import'")


def _replace_check(kinds: str) -> None:
    """SQLite copies the table for it, with all else that it has."""
    with op.batch_alter_table("tasks") as batch:
        batch.drop_constraint(op.f(NAME), type_="check")
        batch.create_check_constraint(op.f(NAME), f"kind IN ({kinds})")
