"""Maintenances and updates that clients were told of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hoster.ledger.tables import Instant

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "announcement",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("about", sa.String(500), nullable=False),
        sa.Column("what", sa.String, nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("until", Instant),
        sa.Column("announced_at", Instant, nullable=False),
        sa.Column("author", sa.String(64), nullable=False),
        sa.UniqueConstraint("kind", "about", "at"),
    )
    op.create_table(
        "concerned",
        sa.Column("announcement", sa.Integer, sa.ForeignKey("announcement.id"), primary_key=True),
        sa.Column("vps", sa.String(63), primary_key=True),
        sa.Column("reminders", sa.Integer, nullable=False),
        sa.Column("reminded_on", sa.String(10)),
        sa.Column("settled_at", Instant),
    )
