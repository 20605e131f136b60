"""Reinstalls, and the ends of VPSs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hoster.ledger.tables import Instant

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "reinstall",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("vps", sa.String(63), nullable=False),
        sa.Column("request", sa.String(200), nullable=False),
        sa.Column("image", sa.String(100), nullable=False),
        sa.Column("installation", sa.Integer, nullable=False),
        sa.Column("former_installation", sa.Integer, nullable=False),
        sa.Column("former_image", sa.String(100), nullable=False),
        sa.Column("keep_days", sa.Integer, nullable=False),
        sa.Column("author", sa.String(64), nullable=False),
        sa.Column("wanted_at", Instant, nullable=False),
        sa.Column("seen_at", Instant),
        sa.Column("finished_at", Instant),
        sa.Column("given_up_at", Instant),
        sa.Column("erase_after", Instant),
        sa.Column("erased_at", Instant),
    )
    op.create_index("ix_reinstall_vps", "reinstall", ["vps"])
    op.create_table(
        "termination",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("vps", sa.String(63), nullable=False, unique=True),
        sa.Column("reason", sa.String(20), nullable=False),
        sa.Column("note", sa.String, nullable=False),
        sa.Column("lost", sa.JSON, nullable=False),
        sa.Column("author", sa.String(64), nullable=False),
        sa.Column("wanted_at", Instant, nullable=False),
        sa.Column("finished_at", Instant),
    )
