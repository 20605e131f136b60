"""The proofs of contact details that clients were asked for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hoster.ledger.tables import Instant

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "proof_demand",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("client", sa.String(31), sa.ForeignKey("client.name"), nullable=False),
        sa.Column("note", sa.String, nullable=False),
        sa.Column("hours", sa.Integer, nullable=False),
        sa.Column("author", sa.String(64), nullable=False),
        sa.Column("demanded_at", Instant, nullable=False),
        sa.Column("settled_at", Instant),
        sa.Column("settled_by", sa.String(64)),
        sa.Column("settlement", sa.String),
    )
    op.create_index("ix_proof_demand_client", "proof_demand", ["client"])
