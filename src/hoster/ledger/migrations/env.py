"""How Alembic reaches the ledger: over the connection that `_engine.migrate` hands it."""

from __future__ import annotations

from alembic import context

from hoster.ledger.tables import Base

# The face of the tables imports every module of them: their metadata is whole.
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
