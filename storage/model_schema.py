"""The tables of versions of models: what was taken up, which does what, how its golden cases went. As in `schema`."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
)

from storage.schema import metadata

# Versions of models that were ever taken up, by their content; what is of a name and version never changes.
model_version = Table(
    "model_version",
    metadata,
    Column("content_sha256", String(64), primary_key=True),
    Column("name", String(48), nullable=False),
    Column("version", String(64), nullable=False),
    # Of the installation, which brings another content when it is renewed, and not kept among the data.
    Column("built_in", Boolean, nullable=False),
    Column("added_at", Float, nullable=False),
    # The folder that it was copied from.
    Column("source", Text, nullable=False),
    # When its files were removed from among the data; what it found stays, and names it.
    Column("removed_at", Float),
)
_BROUGHT = ~model_version.c.built_in
Index(
    "ix_model_version_brought",
    model_version.c.name,
    model_version.c.version,
    unique=True,
    sqlite_where=_BROUGHT,
    postgresql_where=_BROUGHT,
)

# Which version of a model does what, by the digests of their contents.
model_role = Table(
    "model_role",
    metadata,
    Column("name", String(48), primary_key=True),
    Column("active_sha256", ForeignKey("model_version.content_sha256")),
    # Whether the configuration brought it, when there was none, or a person activated it.
    Column("active_by", String(16)),
    Column("active_since", Float),
    # What was active before: where a rollback goes.
    Column("previous_sha256", ForeignKey("model_version.content_sha256")),
    # Runs beside the active one and sends nothing.
    Column("shadow_sha256", ForeignKey("model_version.content_sha256")),
    Column("shadow_since", Float),
    # Takes the place of the active one for a share of the studies, 0 to 1.
    Column("canary_sha256", ForeignKey("model_version.content_sha256")),
    Column("canary_share", Float),
    Column("canary_since", Float),
    # Switched off at once: since when, by whom, and why.
    Column("disabled_at", Float),
    Column("disabled_by", String(16)),
    Column("disabled_reason", Text),
    CheckConstraint("active_by in ('configuration', 'command')", name="active_by"),
    CheckConstraint("disabled_by in ('command', 'golden')", name="disabled_by"),
    CheckConstraint("canary_share > 0 and canary_share <= 1", name="canary_share"),
)

# Counts the changes of roles: one row, which the node looks at all the time.
model_change = Table(
    "model_change",
    metadata,
    Column("change_id", Integer, primary_key=True),
    Column("number", BigInteger, nullable=False),
)

# Golden cases as they were run: before an activation, at start and daily.
golden_check = Table(
    "golden_check",
    metadata,
    Column("check_id", Integer, primary_key=True),
    Column("content_sha256", ForeignKey("model_version.content_sha256"), nullable=False),
    # Where they ran: "cpu", or the name of the GPU.
    Column("device", String(64), nullable=False),
    Column("at", Float, nullable=False),
    Column("passed", Boolean, nullable=False),
    # What failed, or how many passed, in words.
    Column("words", Text, nullable=False),
    # Of each case what came of it: [{"case", "passed", "words", "seconds"}].
    Column("cases", JSON, nullable=False),
)
Index("ix_golden_check_content_sha256_at", golden_check.c.content_sha256, golden_check.c.at)
