"""What the host nodes tell: each event once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hoster.ledger.tables import Instant

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "node_event",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("node", sa.String(63), nullable=False),
        sa.Column("stream", sa.String(32), nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("subject", sa.String(63), nullable=False),
        sa.Column("details", sa.JSON, nullable=False),
        sa.Column("collected_at", Instant, nullable=False),
        sa.UniqueConstraint("stream", "number"),
    )
    op.create_index("ix_node_event_node", "node_event", ["node"])
    op.create_index("ix_node_event_subject", "node_event", ["subject"])
