"""Runs migrations on the connection that the node opened; there is no alembic.ini and no second way in."""

from __future__ import annotations

from alembic import context

import storage.model_schema  # noqa: F401 - its tables are of the metadata
from storage.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
