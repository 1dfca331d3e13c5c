"""What others announce of a series, what sources are used to, and results that later ones supersede"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_JOB_STATES = ("ready", "running", "done", "failed", "skipped")


def upgrade() -> None:
    op.create_table(
        "announcement",
        sa.Column("announcement_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("key", sa.String(length=160), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("series_instance_uid", sa.String(length=64), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("instance_count", sa.Integer(), nullable=True),
        sa.Column("sop_instance_uids", sa.JSON(), nullable=True),
        sa.Column("at", sa.Float(), nullable=False),
        sa.CheckConstraint("kind in ('mpps', 'ian', 'c-find')", name=op.f("ck_announcement_kind")),
        sa.CheckConstraint("state in ('in progress', 'completed', 'discontinued')", name=op.f("ck_announcement_state")),
        sa.PrimaryKeyConstraint("announcement_id", name=op.f("pk_announcement")),
        sa.UniqueConstraint("kind", "key", name=op.f("uq_announcement_kind_key")),
    )
    op.create_index("ix_announcement_study_instance_uid", "announcement", ["study_instance_uid"])
    op.create_index("ix_announcement_series_instance_uid", "announcement", ["series_instance_uid"])
    op.create_table(
        "performed_step",
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("calling_ae_title", sa.String(length=16), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("changed_at", sa.Float(), nullable=False),
        sa.Column("study_instance_uids", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("sop_instance_uid", name=op.f("pk_performed_step")),
    )
    op.create_table(
        "key_object",
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("read_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("sop_instance_uid", name=op.f("pk_key_object")),
    )
    op.create_index("ix_key_object_read_at", "key_object", ["read_at"])
    op.create_table(
        "rejection",
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("code", sa.String(length=16), nullable=False),
        sa.Column("key_object_uid", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["key_object_uid"], ["key_object.sop_instance_uid"], name=op.f("fk_rejection_key_object_uid")
        ),
        sa.PrimaryKeyConstraint("sop_instance_uid", name=op.f("pk_rejection")),
    )
    op.create_table(
        "habit",
        sa.Column("series_id", sa.Integer(), nullable=False),
        sa.Column("calling_ae_title", sa.String(length=16), nullable=False),
        sa.Column("longest_gap_s", sa.Float(), nullable=False),
        sa.Column("longest_pause_s", sa.Float(), nullable=False),
        sa.Column("longest_end_s", sa.Float(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["series_id"], ["series.series_id"], name=op.f("fk_habit_series_id")),
        sa.PrimaryKeyConstraint("series_id", name=op.f("pk_habit")),
    )
    op.create_index("ix_habit_calling_ae_title_at", "habit", ["calling_ae_title", "at"])
    op.create_index("ix_association_closed_at", "association", ["closed_at"])
    _states("series", ("arriving", "whole", "incomplete"))
    with op.batch_alter_table("series") as table:
        table.add_column(sa.Column("expected_count", sa.Integer(), nullable=True))
        table.add_column(sa.Column("held_at", sa.Float(), nullable=True))
    op.execute("alter table instance rename column content_sha256 to content_sum")
    # Without a batch, which would copy the table: there may be millions of instances.
    op.add_column("instance", sa.Column("rejected_revision", sa.Integer(), nullable=True))
    op.add_column("instance", sa.Column("rejected_code", sa.String(length=16), nullable=True))
    _states("job", ("waiting", *_JOB_STATES, "superseded"))
    with op.batch_alter_table("job") as table:
        table.add_column(sa.Column("remark", sa.Text(), nullable=True))
        table.add_column(sa.Column("companions", sa.JSON(), nullable=False, server_default="[]"))
        table.add_column(sa.Column("deadline_at", sa.Float(), nullable=True))
        table.add_column(sa.Column("deadline_missed_at", sa.Float(), nullable=True))
        table.add_column(sa.Column("deadline_closed_at", sa.Float(), nullable=True))
        table.add_column(sa.Column("queued_at", sa.Float(), nullable=True))
        table.add_column(sa.Column("stale", sa.Boolean(), nullable=False, server_default=sa.false()))
        table.drop_index("ix_job_state")
    op.execute("update job set queued_at = created_at")
    with op.batch_alter_table("job") as table:
        table.alter_column("companions", server_default=None)
        table.alter_column("stale", server_default=None)
        table.alter_column("queued_at", nullable=False)
    op.create_index("ix_job_state_priority_queued_at", "job", ["state", "priority", "queued_at", "job_id"])
    still_open = sa.text("deadline_at IS NOT NULL AND deadline_closed_at IS NULL")
    op.create_index(
        "ix_job_open_deadline_at",
        "job",
        ["deadline_at", "deadline_missed_at"],
        sqlite_where=still_open,
        postgresql_where=still_open,
    )
    op.add_column("result", sa.Column("superseded_at", sa.Float(), nullable=True))
    op.add_column("result", sa.Column("superseded_by", sa.Integer(), nullable=True))
    superseded = sa.text("superseded_at IS NOT NULL")
    op.create_index(
        "ix_result_superseded_at", "result", ["superseded_at"], sqlite_where=superseded, postgresql_where=superseded
    )
    _states("outbox", ("waiting", "delivered", "refused", "withdrawn"))


def downgrade() -> None:
    op.execute("update outbox set state = 'refused' where state = 'withdrawn'")
    _states("outbox", ("waiting", "delivered", "refused"))
    op.drop_index("ix_result_superseded_at", "result")
    with op.batch_alter_table("result") as table:
        table.drop_column("superseded_by")
        table.drop_column("superseded_at")
    op.execute("update job set state = 'skipped' where state in ('waiting', 'superseded')")
    op.drop_index("ix_job_open_deadline_at", "job")
    op.drop_index("ix_job_state_priority_queued_at", "job")
    added = ("stale", "queued_at", "deadline_closed_at", "deadline_missed_at", "deadline_at", "companions", "remark")
    with op.batch_alter_table("job") as table:
        for name in added:
            table.drop_column(name)
        table.create_index("ix_job_state", ["state"])
    _states("job", _JOB_STATES)
    op.execute("alter table instance rename column content_sum to content_sha256")
    with op.batch_alter_table("instance") as table:
        table.drop_column("rejected_code")
        table.drop_column("rejected_revision")
    op.execute("update series set state = 'whole' where state = 'incomplete'")
    with op.batch_alter_table("series") as table:
        table.drop_column("held_at")
        table.drop_column("expected_count")
    _states("series", ("arriving", "whole"))
    op.drop_index("ix_association_closed_at", "association")
    op.drop_table("habit")
    op.drop_table("rejection")
    op.drop_table("key_object")
    op.drop_table("performed_step")
    op.drop_table("announcement")


def _states(table_name: str, states: tuple[str, ...]) -> None:
    with op.batch_alter_table(table_name) as table:
        table.drop_constraint(op.f(f"ck_{table_name}_state"), type_="check")
        listed = ", ".join(f"'{state}'" for state in states)
        table.create_check_constraint(op.f(f"ck_{table_name}_state"), f"state in ({listed})")
