"""The part of the ledger that knows which mails are due, and tells each client once (C4.2)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import or_, select, update

from hoster.errors import ConfigurationError, RuleError
from hoster.ledger._clients import is_known
from hoster.ledger._session import Subject
from hoster.ledger._trail import note
from hoster.ledger.tables import AccessCodeRow, MailRow
from hoster.orders.access import AccessCodes

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from sqlalchemy.orm import Session

QUEUED, SENT, FAILED = "queued", "sent", "failed"


@dataclass(frozen=True)
class Mail:
    """A mail of the outbox. ``values`` hold no secret; ``vps`` names whose codes go with it."""

    id: int
    occasion: str
    client: str
    template: str
    values: dict[str, Any]
    vps: str | None
    message_id: str
    state: str
    attempts: int
    queued_at: datetime
    next_attempt_at: datetime
    sent_at: datetime | None
    last_error: str | None


class Outbox(Subject):
    """The mails: claimed by a sender, alone and for a while, then marked."""

    def mails(self) -> list[Mail]:
        """Return the whole outbox, oldest first."""
        with self._sessions.reading() as session:
            rows = session.scalars(select(MailRow).order_by(MailRow.id))
            return [row.as_value(Mail) for row in rows]

    def claim(self, now: datetime, lease: timedelta) -> Mail | None:
        """Take the oldest due mail for *lease*, alone; None where nothing is due."""
        free = or_(MailRow.claimed_until.is_(None), MailRow.claimed_until <= now)
        due = (
            select(MailRow)
            .where(MailRow.state == QUEUED, MailRow.next_attempt_at <= now, free)
            .order_by(MailRow.next_attempt_at, MailRow.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        with self._sessions.transaction() as session:
            row = session.scalars(due).one_or_none()
            if row is None:
                return None
            row.claimed_until = now + lease
            row.attempts += 1
            return row.as_value(Mail)

    def codes_of(self, mail: Mail) -> AccessCodes | None:
        """Return the access codes that go with *mail*, if any do.

        Raises:
            RuleError: they went out already, and the password is forgotten.
        """
        if mail.vps is None:
            return None
        with self._sessions.reading() as session:
            row = session.get_one(AccessCodeRow, mail.vps)
            if row.password is None:
                raise RuleError(f"the access codes of {mail.vps} were sent before")
            return AccessCodes(row.vps, row.user, row.password, row.password_hash)

    def mark_sent(self, mail: Mail, now: datetime) -> None:
        """Mark *mail* sent and forget the password that went with it, together (C4.2)."""
        with self._sessions.transaction() as session:
            row = session.get_one(MailRow, mail.id)
            row.state, row.sent_at, row.claimed_until, row.last_error = SENT, now, None, None
            if mail.vps is not None:
                session.execute(
                    update(AccessCodeRow).where(AccessCodeRow.vps == mail.vps).values(password=None)
                )
            note(session, now, "mail-sent", mail.client, occasion=mail.occasion)
        self._sessions.forget()

    def mark_refused(
        self, mail: Mail, reason: str, now: datetime, *, again_at: datetime | None
    ) -> None:
        """Note why *mail* was not taken; try again at *again_at*, or give up where it is None.

        A sender whose claim ran out is not heard: another one has the mail, or sent it.
        """
        with self._sessions.transaction() as session:
            row = session.get_one(MailRow, mail.id)
            if row.state != QUEUED or row.attempts != mail.attempts:
                return
            row.last_error, row.claimed_until = reason[:500], None
            row.state = FAILED if again_at is None else QUEUED
            row.next_attempt_at = again_at or row.next_attempt_at
            if again_at is None:
                note(session, now, "mail-failed", mail.client, occasion=mail.occasion)

    def retry(self, mail_id: int, now: datetime) -> Mail:
        """Put a failed or waiting mail at the head of the queue.

        Raises:
            ConfigurationError: there is no such mail.
            RuleError: it was sent.
        """
        with self._sessions.transaction() as session:
            row = session.get(MailRow, mail_id)
            if row is None:
                raise ConfigurationError(
                    f"the outbox has no mail {mail_id}", remedy="hoster outbox"
                )
            if row.state == SENT:
                raise RuleError(f"mail {mail_id} was sent on {row.sent_at:%Y-%m-%d %H:%M} UTC")
            row.state, row.next_attempt_at, row.attempts = QUEUED, now, 0
            note(session, now, "mail-retried", row.client, occasion=row.occasion)
            return row.as_value(Mail)


def tell(
    session: Session,
    occasion: str,
    now: datetime,
    *,
    client: str,
    template: str,
    values: dict[str, Any],
) -> bool:
    """Queue a mail to *client*, once for each *occasion*; return whether it was queued now.

    A client that is not known here is passed over: what happens to its VPS waits for no address.
    """
    told = select(MailRow.id).where(MailRow.occasion == occasion)
    if not is_known(session, client) or session.scalar(told) is not None:
        return False
    hand_over(session, occasion, now, client=client, template=template, values=values)
    return True


def hand_over(
    session: Session,
    occasion: str,
    now: datetime,
    *,
    client: str,
    template: str,
    values: dict[str, Any],
    vps: str | None = None,
) -> None:
    """Queue a mail that has to go out; *vps* names whose access codes go with it.

    The database refuses a client that is not known, and an *occasion* that was told before: codes
    that reach nobody, or go out twice, are no delivery.
    """
    session.add(
        MailRow(
            occasion=occasion,
            client=client,
            template=template,
            values=values,
            vps=vps,
            message_id=f"<{uuid.uuid4()}@hoster>",
            state=QUEUED,
            attempts=0,
            queued_at=now,
            next_attempt_at=now,
        )
    )
