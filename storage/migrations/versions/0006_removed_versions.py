"""Versions of models whose files were removed, while what they found stays."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("model_version", sa.Column("removed_at", sa.Float(), nullable=True))


def downgrade() -> None:
    """An older version finds that the copy of such a version is missing, and says so."""
    with op.batch_alter_table("model_version") as table:
        table.drop_column("removed_at")
