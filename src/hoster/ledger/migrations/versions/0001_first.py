"""Clients, access codes, released addresses, outbox, events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hoster.ledger.tables import Instant

revision = "0001"
down_revision = None

_APPEND_ONLY = "an event is never changed"


def upgrade() -> None:
    """Make the first tables."""
    op.create_table(
        "client",
        sa.Column("name", sa.String(31), primary_key=True),
        sa.Column("details", sa.JSON, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
    )
    op.create_table(
        "access_code",
        sa.Column("vps", sa.String(63), primary_key=True),
        sa.Column("ipv4", sa.String(15), nullable=False),
        sa.Column("login", sa.String(32), nullable=False),
        sa.Column("password", sa.String),
        sa.Column("password_hash", sa.String, nullable=False),
        sa.Column("ordered_at", Instant, nullable=False),
        sa.Column("delivered_at", Instant),
        sa.Column("released_at", Instant),
    )
    op.create_table(
        "released_address",
        sa.Column("ipv4", sa.String(15), primary_key=True),
        sa.Column("vps", sa.String(63), nullable=False),
        sa.Column("released_at", Instant, nullable=False),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("occasion", sa.String(200), nullable=False, unique=True),
        sa.Column("client", sa.String(31), sa.ForeignKey("client.name"), nullable=False),
        sa.Column("template", sa.String(60), nullable=False),
        sa.Column("content", sa.JSON, nullable=False),
        sa.Column("vps", sa.String(63), sa.ForeignKey("access_code.vps")),
        sa.Column("message_id", sa.String(200), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("queued_at", Instant, nullable=False),
        sa.Column("next_attempt_at", Instant, nullable=False),
        sa.Column("claimed_until", Instant),
        sa.Column("sent_at", Instant),
        sa.Column("last_error", sa.String),
    )
    op.create_table(
        "event",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", Instant, nullable=False),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("subject", sa.String(63), nullable=False),
        sa.Column("details", sa.JSON, nullable=False),
    )
    _forbid_changes_of_events()


def _forbid_changes_of_events() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER event_no_{verb.lower()} BEFORE {verb} ON event "
                f"BEGIN SELECT RAISE(ABORT, '{_APPEND_ONLY}'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION event_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_APPEND_ONLY}'; END $$"
    )
    op.execute(
        "CREATE TRIGGER event_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON event "
        "FOR EACH STATEMENT EXECUTE FUNCTION event_append_only()"
    )
