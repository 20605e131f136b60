"""The ledger's tables. Times are aware and in UTC; nothing in clear outlives its mail."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    ForeignKey,
    MetaData,
    String,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

_NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Instant(TypeDecorator[datetime]):
    """An aware datetime, kept in UTC; SQLite knows no zones, so that it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:  # noqa: ARG002
        """Refuse a naive time: nobody could tell its zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time without a zone: {value}")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:  # noqa: ARG002
        """Return an aware time."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """The tables' common ground."""

    metadata = MetaData(naming_convention=_NAMING)
    type_annotation_map = {datetime: Instant, dict[str, Any]: JSON}  # noqa: RUF012 - SQLAlchemy's


class ClientRow(Base):
    """A client's contact details (C7.1)."""

    __tablename__ = "client"

    name: Mapped[str] = mapped_column(String(31), primary_key=True)
    details: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class AccessCodeRow(Base):
    """The codes of an order; the password is forgotten when its mail is sent (C4.2)."""

    __tablename__ = "access_code"

    vps: Mapped[str] = mapped_column(String(63), primary_key=True)
    ipv4: Mapped[str] = mapped_column(String(15))
    user: Mapped[str] = mapped_column("login", String(32))
    password: Mapped[str | None]
    password_hash: Mapped[str]
    ordered_at: Mapped[datetime]
    delivered_at: Mapped[datetime | None]
    released_at: Mapped[datetime | None]


class ReleasedAddressRow(Base):
    """An address that was given back, and when: it rests before somebody else gets it."""

    __tablename__ = "released_address"

    ipv4: Mapped[str] = mapped_column(String(15), primary_key=True)
    vps: Mapped[str] = mapped_column(String(63))
    released_at: Mapped[datetime]


class MailRow(Base):
    """A mail to be sent, once: ``occasion`` is unique.

    ``values`` are what the template needs, secrets apart; ``vps`` names the access codes that a
    delivery mail carries. ``claimed_until`` keeps a second sender away while one is at it.
    """

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(primary_key=True)
    occasion: Mapped[str] = mapped_column(String(200), unique=True)
    client: Mapped[str] = mapped_column(ForeignKey("client.name"))
    template: Mapped[str] = mapped_column(String(60))
    values: Mapped[dict[str, Any]] = mapped_column("content")
    vps: Mapped[str | None] = mapped_column(ForeignKey("access_code.vps"))
    message_id: Mapped[str] = mapped_column(String(200))
    state: Mapped[str] = mapped_column(String(10))
    attempts: Mapped[int]
    queued_at: Mapped[datetime]
    next_attempt_at: Mapped[datetime]
    claimed_until: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]
    last_error: Mapped[str | None]


class EventRow(Base):
    """Something that happened; only ever added, and chained by ``digest`` (`hoster.ledger.audit`).

    No secret in ``details``.
    """

    __tablename__ = "event"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(63))
    details: Mapped[dict[str, Any]]
    digest: Mapped[str] = mapped_column(String(64), server_default="")


class IncidentRow(Base):
    """A security incident (`hoster.incidents.measures.Incident`)."""

    __tablename__ = "incident"

    id: Mapped[int] = mapped_column(primary_key=True)
    vps: Mapped[str] = mapped_column(String(63), index=True)
    kind: Mapped[str] = mapped_column(String(20))
    severity: Mapped[str] = mapped_column(String(10))
    evidence: Mapped[str]
    reinstall: Mapped[bool]
    expected_until: Mapped[datetime | None]
    opened_at: Mapped[datetime]
    opened_by: Mapped[str] = mapped_column(String(64))
    closed_at: Mapped[datetime | None]
    closed_by: Mapped[str | None] = mapped_column(String(64))
    closing: Mapped[str | None]


class MeasureRow(Base):
    """A measure against a VPS (`hoster.incidents.measures.Measure`)."""

    __tablename__ = "measure"

    id: Mapped[int] = mapped_column(primary_key=True)
    vps: Mapped[str] = mapped_column(String(63), index=True)
    kind: Mapped[str] = mapped_column(String(20))
    ground: Mapped[str] = mapped_column(String(20))
    incident: Mapped[int | None] = mapped_column(ForeignKey("incident.id"))
    note: Mapped[str]
    author: Mapped[str] = mapped_column(String(64))
    wanted_at: Mapped[datetime]
    in_force_at: Mapped[datetime | None]
    lift_wanted_at: Mapped[datetime | None]
    lift_author: Mapped[str | None] = mapped_column(String(64))
    lift_note: Mapped[str | None]
    lifted_at: Mapped[datetime | None]


class ReinstallRow(Base):
    """A new system for a VPS (`hoster.orders.systems.Reinstall`)."""

    __tablename__ = "reinstall"

    id: Mapped[int] = mapped_column(primary_key=True)
    vps: Mapped[str] = mapped_column(String(63), index=True)
    request: Mapped[str] = mapped_column(String(200))
    image: Mapped[str] = mapped_column(String(100))
    installation: Mapped[int]
    former_installation: Mapped[int]
    former_image: Mapped[str] = mapped_column(String(100))
    keep_days: Mapped[int]
    author: Mapped[str] = mapped_column(String(64))
    wanted_at: Mapped[datetime]
    seen_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    given_up_at: Mapped[datetime | None]
    erase_after: Mapped[datetime | None]
    erased_at: Mapped[datetime | None]


class TerminationRow(Base):
    """The end of a VPS (`hoster.orders.systems.Termination`); the record of the deletion."""

    __tablename__ = "termination"

    id: Mapped[int] = mapped_column(primary_key=True)
    vps: Mapped[str] = mapped_column(String(63), unique=True)
    reason: Mapped[str] = mapped_column(String(20))
    note: Mapped[str]
    lost: Mapped[dict[str, Any]]
    author: Mapped[str] = mapped_column(String(64))
    wanted_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class NodeEventRow(Base):
    """Something that a host node told; only ever added, and once (`hoster.wire.events`)."""

    __tablename__ = "node_event"
    __table_args__ = (UniqueConstraint("stream", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    node: Mapped[str] = mapped_column(String(63), index=True)
    stream: Mapped[str] = mapped_column(String(32))
    number: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime]
    kind: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(63), index=True)
    details: Mapped[dict[str, Any]]
    collected_at: Mapped[datetime]


class AnnouncementRow(Base):
    """Something that clients were told beforehand (`hoster.clients.announcements`).

    ``at`` is when a maintenance starts, or until when an update is due; ``until`` when the first
    is expected to end.
    """

    __tablename__ = "announcement"
    __table_args__ = (UniqueConstraint("kind", "about", "at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    about: Mapped[str] = mapped_column(String(500))
    what: Mapped[str]
    at: Mapped[datetime]
    until: Mapped[datetime | None]
    announced_at: Mapped[datetime]
    author: Mapped[str] = mapped_column(String(64))


class ConcernedRow(Base):
    """A VPS that an announcement concerns, how often its client was reminded, and if it is done."""

    __tablename__ = "concerned"

    announcement: Mapped[int] = mapped_column(ForeignKey("announcement.id"), primary_key=True)
    vps: Mapped[str] = mapped_column(String(63), primary_key=True)
    reminders: Mapped[int]
    reminded_on: Mapped[str | None] = mapped_column(String(10))
    settled_at: Mapped[datetime | None]


class ProofDemandRow(Base):
    """A proof of contact details that a client was asked for (`hoster.clients.proofs.Demand`)."""

    __tablename__ = "proof_demand"

    id: Mapped[int] = mapped_column(primary_key=True)
    client: Mapped[str] = mapped_column(ForeignKey("client.name"), index=True)
    note: Mapped[str]
    hours: Mapped[int]
    author: Mapped[str] = mapped_column(String(64))
    demanded_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]
    settled_by: Mapped[str | None] = mapped_column(String(64))
    settlement: Mapped[str | None]
