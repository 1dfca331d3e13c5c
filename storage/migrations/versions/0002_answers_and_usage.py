"""Answers that were no success, and what the stored objects take"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "answer",
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("calling_ae_title", sa.String(length=16), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("day_count", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "status", "calling_ae_title", name=op.f("pk_answer")),
    )
    op.create_table(
        "usage",
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("total_bytes", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind in ('instances', 'results')", name=op.f("ck_usage_kind")),
        sa.PrimaryKeyConstraint("kind", name=op.f("pk_usage")),
    )
    # What an older version stored counts, too: read once here, and never again.
    for kind, table in (("instances", "instance"), ("results", "result")):
        op.execute(
            f"insert into usage (kind, total_bytes) select '{kind}', coalesce(sum(size_bytes), 0) from {table}"  # noqa: S608
        )


def downgrade() -> None:
    op.drop_table("usage")
    op.drop_table("answer")
