"""Incidents and measures; the audit trail becomes a chain."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hoster.ledger import audit
from hoster.ledger.tables import Instant

revision = "0003"
down_revision = "0002"

_EVENT = sa.table(
    "event",
    sa.column("id", sa.Integer),
    sa.column("at", Instant),
    sa.column("actor", sa.String),
    sa.column("kind", sa.String),
    sa.column("subject", sa.String),
    sa.column("details", sa.JSON),
    sa.column("digest", sa.String),
)


def upgrade() -> None:
    """Make the tables, and chain the entries that are there."""
    op.create_table(
        "incident",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("vps", sa.String(63), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("severity", sa.String(10), nullable=False),
        sa.Column("evidence", sa.String, nullable=False),
        sa.Column("reinstall", sa.Boolean, nullable=False),
        sa.Column("expected_until", Instant),
        sa.Column("opened_at", Instant, nullable=False),
        sa.Column("opened_by", sa.String(64), nullable=False),
        sa.Column("closed_at", Instant),
        sa.Column("closed_by", sa.String(64)),
        sa.Column("closing", sa.String),
    )
    op.create_index("ix_incident_vps", "incident", ["vps"])
    op.create_table(
        "measure",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("vps", sa.String(63), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("ground", sa.String(20), nullable=False),
        sa.Column("incident", sa.Integer, sa.ForeignKey("incident.id")),
        sa.Column("note", sa.String, nullable=False),
        sa.Column("author", sa.String(64), nullable=False),
        sa.Column("wanted_at", Instant, nullable=False),
        sa.Column("in_force_at", Instant),
        sa.Column("lift_wanted_at", Instant),
        sa.Column("lift_author", sa.String(64)),
        sa.Column("lift_note", sa.String),
        sa.Column("lifted_at", Instant),
    )
    op.create_index("ix_measure_vps", "measure", ["vps"])
    _chain()


def _chain() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    op.add_column("event", sa.Column("digest", sa.String(64), nullable=False, server_default=""))
    # Nobody may change an entry: the triggers step aside for this one time.
    if sqlite:
        op.execute("DROP TRIGGER event_no_update")
    else:
        op.execute("ALTER TABLE event DISABLE TRIGGER event_append_only")
    connection, previous = op.get_bind(), audit.START
    for row in connection.execute(sa.select(_EVENT).order_by(_EVENT.c.id)).all():
        previous = audit.digest(
            previous,
            row.at,
            actor=row.actor,
            kind=row.kind,
            subject=row.subject,
            details=row.details,
        )
        connection.execute(_EVENT.update().where(_EVENT.c.id == row.id).values(digest=previous))
    if sqlite:
        op.execute(
            "CREATE TRIGGER event_no_update BEFORE UPDATE ON event "
            "BEGIN SELECT RAISE(ABORT, 'an event is never changed'); END"
        )
    else:
        op.execute("ALTER TABLE event ENABLE TRIGGER event_append_only")
