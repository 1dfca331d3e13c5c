"""Results in quarantine, and what goes to a destination in place of what it does not take"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from alembic.operations import BatchOperations

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_STATES = ("waiting", "delivered", "refused", "withdrawn")
_QUARANTINED = sa.text("faults IS NOT NULL")


def upgrade() -> None:
    with op.batch_alter_table("result") as table:
        table.alter_column("kind", existing_type=sa.String(length=16), type_=sa.String(length=48))
        table.add_column(sa.Column("faults", sa.JSON(none_as_null=True), nullable=True))
    op.create_index(
        "ix_result_quarantined", "result", ["job_id"], sqlite_where=_QUARANTINED, postgresql_where=_QUARANTINED
    )
    with op.batch_alter_table("outbox") as table:
        table.add_column(sa.Column("in_place_of", sa.String(length=64), nullable=True))
        _states(table, (*_STATES, "substituted"))


def downgrade() -> None:
    """What is in quarantine leaves the database, since an older version would send it; its object stays."""
    op.execute("update outbox set state = 'refused' where state = 'substituted'")
    with op.batch_alter_table("outbox") as table:
        _states(table, _STATES)
        table.drop_column("in_place_of")
    op.drop_index("ix_result_quarantined", "result")
    op.execute(
        "update usage set total_bytes = total_bytes - (select coalesce(sum(size_bytes), 0) from result"
        " where faults is not null) where kind = 'results'"
    )
    op.execute("delete from result where faults is not null")
    with op.batch_alter_table("result") as table:
        table.drop_column("faults")
        table.alter_column("kind", existing_type=sa.String(length=48), type_=sa.String(length=16))


def _states(table: BatchOperations, states: tuple[str, ...]) -> None:
    table.drop_constraint(op.f("ck_outbox_state"), type_="check")
    listed = ", ".join(f"'{state}'" for state in states)
    table.create_check_constraint(op.f("ck_outbox_state"), f"state in ({listed})")
