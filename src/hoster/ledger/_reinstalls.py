"""The part of the ledger that knows new systems of VPSs (C6.3, C7.4, C7.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from hoster.errors import ConfigurationError, RuleError
from hoster.incidents.situation import Act
from hoster.ledger._incidents import incidents
from hoster.ledger._measures import Confirmed, confirm, measures, situation, unwant
from hoster.ledger._outbox import SENT, hand_over
from hoster.ledger._session import Subject
from hoster.ledger._trail import actor, note
from hoster.ledger.tables import AccessCodeRow, MailRow, ReinstallRow
from hoster.orders import systems
from hoster.orders.access import AccessCodes, generate
from hoster.orders.systems import Reinstall
from hoster.wire import names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime, timedelta

    from sqlalchemy.orm import Session

    from hoster.incidents.measures import Measure


class Reinstalls(Subject):
    """Reinstalls: wanted, seen up, finished, their former disk erased; or given up."""

    def asked(self, vps: str, request: str) -> tuple[str, Reinstall | None]:
        """Return what asks for a reinstall of *vps*, and the reinstall that answered it, if any.

        See `hoster.orders.systems.asked`.

        Raises:
            RuleError: nothing asks for it, another reinstall is under way, or it is not the time.
        """
        with self._sessions.reading() as session:
            here, open_now = _reinstalls(session, vps), incidents(session, vps, open_only=True)
            wanted, known = systems.asked(vps, request, here, open_now)
            if known is None:
                _codes_row(session, vps)
            return wanted, known

    def begin(
        self,
        vps: str,
        request: str,
        *,
        image: str,
        installation: int,
        former: tuple[int, str],
        keep_days: int,
        user: str,
        now: datetime,
    ) -> Reinstall:
        """Want a new system for *vps*, with new access codes; *former* is (number, image).

        Raises:
            RuleError: it is not the time for it, or earlier access codes were not sent yet.
        """
        with self._sessions.transaction() as session:
            situation(session, vps).require(vps, Act.REINSTALL)
            systems.require_no_other(vps, _reinstalls(session, vps))
            _renew_codes(session, vps, user)
            row = ReinstallRow(
                vps=vps,
                request=request,
                image=image,
                installation=installation,
                former_installation=former[0],
                former_image=former[1],
                keep_days=keep_days,
                author=actor(),
                wanted_at=now,
            )
            _add(session, row, now)
            return row.as_value(Reinstall)

    def codes(self, reinstall: Reinstall) -> AccessCodes:
        """Return the access codes of the new system, until their mail has gone."""
        with self._sessions.reading() as session:
            row = session.get_one(AccessCodeRow, reinstall.vps)
            return AccessCodes(row.vps, row.user, row.password or "", row.password_hash)

    def numbered(self, number: int) -> Reinstall:
        """Return a reinstall.

        Raises:
            ConfigurationError: there is none of that number.
        """
        with self._sessions.reading() as session:
            return _row(session, number).as_value(Reinstall)

    def last(self, vps: str) -> Reinstall:
        """Return the reinstall of *vps* that is under way, or was given up last.

        Raises:
            RuleError: there is none.
        """
        with self._sessions.reading() as session:
            found = _reinstalls(session, vps)
        if not found or found[-1].finished_at is not None:
            raise RuleError(f"{vps} is not being reinstalled: there is nothing to give up")
        return found[-1]

    def all(self, vps: str | None = None) -> list[Reinstall]:
        """Return the reinstalls of *vps*, or of all, oldest first."""
        with self._sessions.reading() as session:
            return _reinstalls(session, vps)

    def note_seen(self, number: int, now: datetime) -> tuple[bool, list[Measure]]:
        """Note that a new system was seen up, and want the end of what demanded it (C7.4).

        Returns:
            Whether that was news, and the measures to be lifted on its node.
        """
        with self._sessions.transaction() as session:
            row = _row(session, number)
            news = row.seen_at is None
            if news:
                row.seen_at = now
                note(session, now, "reinstall-seen", row.vps, reinstall=row.id, image=row.image)
            if row.finished_at is None:
                here = measures(session, row.vps, in_force=True)
                for measure in systems.ended_by_new_system(incidents(session, row.vps), here):
                    unwant(session, measure, now, f"reinstalled ({row.request})")
            here = measures(session, row.vps, in_force=True)
            return news, [measure for measure in here if not measure.is_wanted]

    def finish(
        self,
        number: int,
        measures: Iterable[int],
        values: Mapping[str, Any],
        now: datetime,
        *,
        keep: timedelta,
    ) -> tuple[bool, list[Confirmed]]:
        """Note that *measures* were lifted, and send the client the new codes; together and once.

        Returns:
            Whether that was news, and what became of the measures.

        Raises:
            RuleError: the new system was not seen yet.
        """
        with self._sessions.transaction() as session:
            row = _row(session, number)
            systems.require_seen(row.as_value(Reinstall))
            timezone = str(values["timezone"])
            confirmed = [confirm(session, each, now, timezone) for each in measures]
            if row.finished_at is not None:
                return False, confirmed
            row.finished_at, row.erase_after = now, now + keep
            _hand_over(session, row, values, now)
            note(session, now, "reinstall-finished", row.vps, reinstall=row.id)
            return True, confirmed

    def give_up(self, number: int, now: datetime) -> bool:
        """Note that the former system is back; False where it was already.

        Raises:
            RuleError: the new system was seen up: it is the client's now.
        """
        with self._sessions.transaction() as session:
            row = _row(session, number)
            if row.given_up_at is not None:
                return False
            systems.require_unseen(row.as_value(Reinstall))
            row.given_up_at = now
            session.get_one(AccessCodeRow, row.vps).password = None
            note(session, now, "reinstall-given-up", row.vps, reinstall=row.id)
            return True

    def former_disks(self, due_at: datetime | None = None) -> list[Reinstall]:
        """Return the finished reinstalls whose former disk is there; those due by then, if said."""
        row = ReinstallRow
        wanted = select(row).where(row.finished_at.is_not(None), row.erased_at.is_(None))
        wanted = wanted.where(row.erase_after <= due_at) if due_at else wanted
        with self._sessions.reading() as session:
            found = session.scalars(wanted.order_by(row.id))
            return [each.as_value(Reinstall) for each in found]

    def note_erased(self, number: int, now: datetime) -> bool:
        """Note that a former disk is erased; False where it was already.

        Raises:
            RuleError: the new system was not seen and handed over yet.
        """
        with self._sessions.transaction() as session:
            row = _row(session, number)
            if row.erased_at is not None:
                return False
            systems.require_handed_over(row.as_value(Reinstall))
            row.erased_at = now
            former = row.former_installation
            note(session, now, "former-disk-erased", row.vps, reinstall=row.id, installation=former)
            return True


def end_reinstalls(session: Session, vps: str, now: datetime) -> None:
    """Give up what is under way of a VPS that is no more; its former disks are gone with it."""
    for row in session.scalars(select(ReinstallRow).where(ReinstallRow.vps == vps)):
        if row.finished_at is None and row.given_up_at is None:
            row.given_up_at = now
        row.erased_at = row.erased_at or now


def _row(session: Session, number: int) -> ReinstallRow:
    row = session.get(ReinstallRow, number)
    if row is None:
        raise ConfigurationError(f"the ledger has no reinstall {number}", remedy="hoster incidents")
    return row


def _reinstalls(session: Session, vps: str | None) -> list[Reinstall]:
    wanted = select(ReinstallRow).order_by(ReinstallRow.id)
    wanted = wanted.where(ReinstallRow.vps == vps) if vps else wanted
    return [row.as_value(Reinstall) for row in session.scalars(wanted)]


def _codes_row(session: Session, vps: str) -> AccessCodeRow:
    row = session.get(AccessCodeRow, vps)
    waiting = select(MailRow.id).where(MailRow.vps == vps, MailRow.state != SENT)
    systems.require_new_codes(
        vps,
        is_delivered=row is not None and row.delivered_at is not None,
        are_waiting=session.scalar(waiting.limit(1)) is not None,
    )
    return session.get_one(AccessCodeRow, vps)


def _renew_codes(session: Session, vps: str, user: str) -> None:
    row, codes = _codes_row(session, vps), generate(vps, user)
    row.password, row.password_hash = codes.password, codes.password_hash
    row.user = user


def _add(session: Session, row: ReinstallRow, now: datetime) -> None:
    session.add(row)
    session.flush()
    note(
        session,
        now,
        "reinstall-wanted",
        row.vps,
        reinstall=row.id,
        request=row.request,
        image=row.image,
        installation=row.installation,
        keep_days=row.keep_days,
    )


def _hand_over(
    session: Session, row: ReinstallRow, values: Mapping[str, Any], now: datetime
) -> None:
    until = row.erase_after.isoformat() if row.erase_after and row.keep_days else None
    here = sorted({each.ground for each in measures(session, row.vps, in_force=True)})
    hand_over(
        session,
        f"reinstall:{row.id}",
        now,
        client=names.client_of(row.vps),
        template="reinstalled",
        values={**values, "former_until": until, "left": here, "at": now.isoformat()},
        vps=row.vps,
    )
