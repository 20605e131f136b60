"""The part of the ledger that knows new systems of VPSs, and their ends (C7.4, C7.5, C15.2)."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from hoster.errors import ConfigurationError, RuleError
from hoster.incidents.situation import Act
from hoster.ledger._measures import Confirmed, confirm, left, measure, situation, unwant
from hoster.ledger._session import SENT, Sessions, actor, note, queue
from hoster.ledger.tables import (
    AccessCodeRow,
    ClientRow,
    IncidentRow,
    MailRow,
    MeasureRow,
    ReinstallRow,
    ReleasedAddressRow,
    TerminationRow,
)
from hoster.orders.access import AccessCodes, generate
from hoster.orders.systems import Reinstall, Termination

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime, timedelta

    from sqlalchemy.orm import Session

    from hoster.incidents.measures import Measure


class Systems(Sessions):
    """Reinstalls and terminations."""

    # --- reinstalls ---

    def asked(self, vps: str, request: str) -> tuple[str, Reinstall | None]:
        """Return what asks for a reinstall of *vps*, and the reinstall that answered it, if any.

        A client's *request* counts by its reference; without one, the open incidents that demand
        a reinstall do, and where none is open any more, the one that was answered last.

        Raises:
            RuleError: nothing asks for it, another reinstall is under way, or it is not the time.
        """
        with self._reading() as session:
            known = session.scalars(
                select(ReinstallRow)
                .where(ReinstallRow.vps == vps, ReinstallRow.given_up_at.is_(None))
                .order_by(ReinstallRow.id.desc())
            ).all()
            if known and known[0].finished_at is None and request in {"", known[0].request}:
                return known[0].request, _reinstall(known[0])
            _require_no_other(session, vps)
            incident = session.scalar(_demanding(vps).limit(1))
            wanted = request or (f"incident-{incident.id}" if incident else "")
            for row in known:
                if row.request == wanted or (not wanted and row.request.startswith("incident-")):
                    return row.request, _reinstall(row)
            if not wanted:
                raise RuleError(
                    f"nothing asks for a reinstall of {vps}: no open incident demands one",
                    remedy="Where its client asked for it, name the ticket: -e request=TICKET.",
                )
            _codes_row(session, vps)
            return wanted, None

    def begin_reinstall(
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
        with self._transaction() as session:
            situation(session, vps).require(vps, Act.REINSTALL)
            _require_no_other(session, vps)
            codes = _codes_row(session, vps)
            codes.password, codes.password_hash = _new_codes(vps, user)
            codes.user = user
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
            session.add(row)
            session.flush()
            note(
                session,
                now,
                "reinstall-wanted",
                vps,
                reinstall=row.id,
                request=request,
                image=image,
                installation=installation,
                keep_days=keep_days,
            )
            return _reinstall(row)

    def reinstall_codes(self, reinstall: Reinstall) -> AccessCodes:
        """Return the access codes of the new system, until their mail has gone."""
        with self._reading() as session:
            row = session.get_one(AccessCodeRow, reinstall.vps)
            return AccessCodes(row.vps, row.user, row.password or "", row.password_hash)

    def reinstall(self, number: int) -> Reinstall:
        """Return a reinstall.

        Raises:
            ConfigurationError: there is none of that number.
        """
        with self._reading() as session:
            return _reinstall(_reinstall_row(session, number))

    def last_reinstall(self, vps: str) -> Reinstall:
        """Return the reinstall of *vps* that is under way, or was given up last.

        Raises:
            RuleError: there is none.
        """
        row = ReinstallRow
        wanted = select(row).where(row.vps == vps).order_by(row.id.desc()).limit(1)
        with self._reading() as session:
            found = session.scalars(wanted).first()
            if found is None or found.finished_at is not None:
                raise RuleError(f"{vps} is not being reinstalled: there is nothing to give up")
            return _reinstall(found)

    def reinstalls(self, vps: str | None = None) -> list[Reinstall]:
        """Return the reinstalls of *vps*, or of all, oldest first."""
        wanted = select(ReinstallRow).order_by(ReinstallRow.id)
        wanted = wanted.where(ReinstallRow.vps == vps) if vps else wanted
        with self._reading() as session:
            return [_reinstall(row) for row in session.scalars(wanted)]

    def reinstall_seen(self, number: int, now: datetime) -> tuple[bool, list[Measure]]:
        """Note that a new system was seen up, and want the end of what demanded it (C7.4).

        Returns:
            Whether that was news, and the measures to be lifted on its node.
        """
        with self._transaction() as session:
            row = _reinstall_row(session, number)
            news = row.seen_at is None
            if news:
                row.seen_at = now
                note(session, now, "reinstall-seen", row.vps, reinstall=row.id, image=row.image)
            if row.finished_at is None:
                for incident in session.scalars(_demanding(row.vps)):
                    for one in left(session, row.vps, Act.QUARANTINE):
                        if one.incident == incident.id and one.lift_wanted_at is None:
                            unwant(session, one, now, f"reinstalled ({row.request})")
            session.flush()
            lifting = [one for one in left(session, row.vps) if one.lift_wanted_at is not None]
            return news, [measure(one) for one in lifting]

    def finish_reinstall(
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
        with self._transaction() as session:
            row = _reinstall_row(session, number)
            if row.seen_at is None:
                raise RuleError(f"{row.vps}: its new system was not seen up yet")
            timezone = str(values["timezone"])
            confirmed = [confirm(session, one, now, timezone) for one in measures]
            if row.finished_at is not None:
                return False, confirmed
            row.finished_at, row.erase_after = now, now + keep
            until = row.erase_after.isoformat() if row.keep_days else None
            here = sorted({one.ground for one in left(session, row.vps)})
            queue(
                session,
                f"reinstall:{row.id}",
                now,
                client=row.vps.partition("/")[0],
                template="reinstalled",
                values={**values, "former_until": until, "left": here, "at": now.isoformat()},
                vps=row.vps,
            )
            note(session, now, "reinstall-finished", row.vps, reinstall=row.id)
            return True, confirmed

    def give_up_reinstall(self, number: int, now: datetime) -> bool:
        """Note that the former system is back; False where it was already.

        Raises:
            RuleError: the new system was seen up: it is the client's now.
        """
        with self._transaction() as session:
            row = _reinstall_row(session, number)
            if row.given_up_at is not None:
                return False
            require_unseen(row)
            row.given_up_at = now
            session.get_one(AccessCodeRow, row.vps).password = None
            note(session, now, "reinstall-given-up", row.vps, reinstall=row.id)
            return True

    def former_disks(self, due_at: datetime | None = None) -> list[Reinstall]:
        """Return the finished reinstalls whose former disk is there; those due by then, if said."""
        row = ReinstallRow
        wanted = select(row).where(row.finished_at.is_not(None), row.erased_at.is_(None))
        wanted = wanted.where(row.erase_after <= due_at) if due_at else wanted
        with self._reading() as session:
            return [_reinstall(one) for one in session.scalars(wanted.order_by(row.id))]

    def former_disk_erased(self, number: int, now: datetime) -> bool:
        """Note that a former disk is erased; False where it was already.

        Raises:
            RuleError: the new system was not seen and handed over yet.
        """
        with self._transaction() as session:
            row = _reinstall_row(session, number)
            if row.erased_at is not None:
                return False
            if row.finished_at is None:
                raise RuleError(f"{row.vps}: its former disk is the only one that is known to work")
            row.erased_at = now
            former = row.former_installation
            note(session, now, "former-disk-erased", row.vps, reinstall=row.id, installation=former)
            return True

    # --- terminations ---

    def termination(self, vps: str) -> Termination | None:
        """Return the end of *vps*, if it was wanted."""
        with self._reading() as session:
            row = session.scalar(select(TerminationRow).where(TerminationRow.vps == vps))
            return _termination(row) if row else None

    def terminations(self) -> list[Termination]:
        """Return the ends of all VPSs, oldest first."""
        with self._reading() as session:
            rows = session.scalars(select(TerminationRow).order_by(TerminationRow.id))
            return [_termination(row) for row in rows]

    def begin_termination(
        self, vps: str, reason: str, why: str, lost: Mapping[str, Any], now: datetime
    ) -> bool:
        """Want the end of *vps*; False where it was wanted already (C12.5, C15.2).

        Raises:
            RuleError: a court wants it kept.
        """
        with self._transaction() as session:
            known = session.scalar(select(TerminationRow).where(TerminationRow.vps == vps))
            if known is not None:
                return False
            held = [one for one in left(session, vps) if one.ground == "court-order"]
            if held and reason != "court-order":
                raise RuleError(
                    f"{vps} is under an order of a court (measure {held[0].id}): its data may be "
                    "evidence",
                    remedy="Lift that first, or terminate it by that order: -e reason=court-order.",
                )
            session.add(
                TerminationRow(
                    vps=vps,
                    reason=reason,
                    note=why,
                    lost=dict(lost),
                    author=actor(),
                    wanted_at=now,
                )
            )
            note(session, now, "termination-wanted", vps, reason=reason, note=why, lost=dict(lost))
            return True

    def finish_termination(self, vps: str, timezone: str, now: datetime) -> bool:
        """Note that all of *vps* is deleted, give its address back and tell its client; once.

        The address rests before somebody else gets it (C4.3); measures and incidents end with it.
        """
        with self._transaction() as session:
            row = session.scalars(select(TerminationRow).where(TerminationRow.vps == vps)).one()
            if row.finished_at is not None:
                return False
            row.finished_at = now
            _end_all(session, vps, now)
            ipv4 = str(row.lost["ipv4"])
            session.merge(ReleasedAddressRow(ipv4=ipv4, vps=vps, released_at=now))
            codes = session.get(AccessCodeRow, vps)
            if codes is not None:
                codes.password = None
                codes.released_at = now
            note(session, now, "address-released", vps, ipv4=ipv4)
            note(session, now, "terminated", vps, termination=row.id, reason=row.reason)
            client = vps.partition("/")[0]
            if session.get(ClientRow, client) is not None:
                values = {
                    "vps": vps,
                    "ground": row.reason,
                    "at": now.isoformat(),
                    "timezone": timezone,
                    "ipv4": ipv4,
                }
                queue(
                    session,
                    f"termination:{row.id}",
                    now,
                    client=client,
                    template="terminated",
                    values=values,
                )
            return True


def require_unseen(reinstall: Reinstall | ReinstallRow) -> None:
    """See that a reinstall can be given up.

    Raises:
        RuleError: the new system was seen up: it is the client's now.
    """
    if reinstall.seen_at is not None:
        raise RuleError(
            f"{reinstall.vps}: its new system was seen up on {reinstall.seen_at:%Y-%m-%d %H:%M} "
            "UTC, and is its client's now",
            remedy="Run the reinstall again to finish it.",
        )


def _end_all(session: Session, vps: str, now: datetime) -> None:
    who = actor()
    for measured in left(session, vps):
        measured.lift_wanted_at = measured.lift_wanted_at or now
        measured.lift_author = measured.lift_author or who
        measured.lift_note = measured.lift_note or "terminated"
        measured.lifted_at = now
        note(session, now, f"{measured.kind}-lifted", vps, measure=measured.id, note="terminated")
    for incident in session.scalars(
        select(IncidentRow).where(IncidentRow.vps == vps, IncidentRow.closed_at.is_(None))
    ):
        incident.closed_at, incident.closed_by, incident.closing = now, who, "terminated"
        note(session, now, "incident-closed", vps, incident=incident.id, note="terminated")
    for reinstall in session.scalars(_open(vps)):
        reinstall.given_up_at = now
    former = select(ReinstallRow).where(ReinstallRow.vps == vps, ReinstallRow.erased_at.is_(None))
    for reinstall in session.scalars(former):
        reinstall.erased_at = now


def _codes_row(session: Session, vps: str) -> AccessCodeRow:
    row = session.get(AccessCodeRow, vps)
    if row is None or row.delivered_at is None:
        raise RuleError(
            f"{vps} was not delivered: there is no system to put another one in the place of",
            remedy=f"hoster deliver {vps}",
        )
    waiting = select(MailRow.id).where(MailRow.vps == vps, MailRow.state != SENT)
    if session.scalar(waiting.limit(1)) is not None:
        raise RuleError(
            f"access codes of {vps} were not sent yet: new ones would go out in their place",
            remedy="hoster outbox tells why; hoster outbox send tries again.",
        )
    return row


def _require_no_other(session: Session, vps: str) -> None:
    other = session.scalars(_open(vps)).first()
    if other is not None:
        raise RuleError(
            f"{vps} is being reinstalled already, as {other.request} asked",
            remedy="Finish that first, or give it up: playbooks/give-up-reinstall.yml.",
        )


def _new_codes(vps: str, user: str) -> tuple[str, str]:
    codes = generate(vps, user)
    return codes.password, codes.password_hash


def _open(vps: str) -> Any:
    row = ReinstallRow
    return select(row).where(row.vps == vps, row.finished_at.is_(None), row.given_up_at.is_(None))


def _demanding(vps: str) -> Any:
    """Return what finds the open incidents of *vps* that demand a reinstall, the last first."""
    return (
        select(IncidentRow)
        .join(MeasureRow, MeasureRow.incident == IncidentRow.id)
        .where(
            IncidentRow.vps == vps,
            IncidentRow.reinstall.is_(True),
            IncidentRow.closed_at.is_(None),
        )
        .order_by(IncidentRow.id.desc())
    )


def _reinstall_row(session: Session, number: int) -> ReinstallRow:
    row = session.get(ReinstallRow, number)
    if row is None:
        raise ConfigurationError(f"the ledger has no reinstall {number}", remedy="hoster incidents")
    return row


def _reinstall(row: ReinstallRow) -> Reinstall:
    return Reinstall(**{one.name: getattr(row, one.name) for one in fields(Reinstall)})


def _termination(row: TerminationRow) -> Termination:
    return Termination(**{one.name: getattr(row, one.name) for one in fields(Termination)})
