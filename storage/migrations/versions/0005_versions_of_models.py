"""Versions of models, what each of them does, and the golden cases that were run of them"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_BROUGHT = sa.text("NOT built_in")
_BESIDE = sa.text("role != 'active'")


def upgrade() -> None:
    _create_versions()
    _create_roles()
    op.create_table(
        "golden_check",
        sa.Column("check_id", sa.Integer(), nullable=False),
        sa.Column("content_sha256", sa.String(length=64), nullable=False),
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("cases", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["content_sha256"], ["model_version.content_sha256"], name=op.f("fk_golden_check_content_sha256")
        ),
        sa.PrimaryKeyConstraint("check_id", name=op.f("pk_golden_check")),
    )
    op.create_index("ix_golden_check_content_sha256_at", "golden_check", ["content_sha256", "at"])
    with op.batch_alter_table("job") as table:
        table.add_column(sa.Column("role", sa.String(length=16), nullable=False, server_default="active"))
        table.add_column(sa.Column("compared_with", sa.Integer(), nullable=True))
        table.add_column(sa.Column("comparison", sa.JSON(none_as_null=True), nullable=True))
        table.add_column(sa.Column("provenance_key", sa.Text(), nullable=True))
        table.create_check_constraint(op.f("ck_job_role"), "role in ('active', 'canary', 'shadow')")
    with op.batch_alter_table("job") as table:
        table.alter_column("role", server_default=None)
    with op.batch_alter_table("result") as table:
        table.add_column(sa.Column("provenance_key", sa.Text(), nullable=True))
    op.create_index("ix_job_beside", "job", ["role", "model"], sqlite_where=_BESIDE, postgresql_where=_BESIDE)


def downgrade() -> None:
    """Shadows leave the database, since an older version would take what they found for a finding; nothing of them was sent."""
    op.execute("delete from job_attempt where job_id in (select job_id from job where role = 'shadow')")
    op.execute(
        "update usage set total_bytes = total_bytes - (select coalesce(sum(size_bytes), 0) from result"
        " where job_id in (select job_id from job where role = 'shadow')) where kind = 'results'"
    )
    op.execute("delete from result where job_id in (select job_id from job where role = 'shadow')")
    op.execute("delete from job where role = 'shadow'")
    op.drop_index("ix_job_beside", "job")
    with op.batch_alter_table("result") as table:
        table.drop_column("provenance_key")
    with op.batch_alter_table("job") as table:
        table.drop_constraint(op.f("ck_job_role"), type_="check")
        for name in ("provenance_key", "comparison", "compared_with", "role"):
            table.drop_column(name)
    for name in ("golden_check", "model_change", "model_role", "model_version"):
        op.drop_table(name)


def _create_versions() -> None:
    op.create_table(
        "model_version",
        sa.Column("content_sha256", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=48), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("built_in", sa.Boolean(), nullable=False),
        sa.Column("added_at", sa.Float(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("content_sha256", name=op.f("pk_model_version")),
    )
    op.create_index(
        "ix_model_version_brought",
        "model_version",
        ["name", "version"],
        unique=True,
        sqlite_where=_BROUGHT,
        postgresql_where=_BROUGHT,
    )


def _create_roles() -> None:
    named = ("active_sha256", "previous_sha256", "shadow_sha256", "canary_sha256")
    op.create_table(
        "model_role",
        sa.Column("name", sa.String(length=48), nullable=False),
        sa.Column("active_sha256", sa.String(length=64), nullable=True),
        sa.Column("active_by", sa.String(length=16), nullable=True),
        sa.Column("active_since", sa.Float(), nullable=True),
        sa.Column("previous_sha256", sa.String(length=64), nullable=True),
        sa.Column("shadow_sha256", sa.String(length=64), nullable=True),
        sa.Column("shadow_since", sa.Float(), nullable=True),
        sa.Column("canary_sha256", sa.String(length=64), nullable=True),
        sa.Column("canary_share", sa.Float(), nullable=True),
        sa.Column("canary_since", sa.Float(), nullable=True),
        sa.Column("disabled_at", sa.Float(), nullable=True),
        sa.Column("disabled_by", sa.String(length=16), nullable=True),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.CheckConstraint("active_by in ('configuration', 'command')", name=op.f("ck_model_role_active_by")),
        sa.CheckConstraint("disabled_by in ('command', 'golden')", name=op.f("ck_model_role_disabled_by")),
        sa.CheckConstraint("canary_share > 0 and canary_share <= 1", name=op.f("ck_model_role_canary_share")),
        *(
            sa.ForeignKeyConstraint([name], ["model_version.content_sha256"], name=op.f(f"fk_model_role_{name}"))
            for name in named
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_model_role")),
    )
    op.create_table(
        "model_change",
        sa.Column("change_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("change_id", name=op.f("pk_model_change")),
    )
    op.execute("insert into model_change (change_id, number) values (1, 0)")
