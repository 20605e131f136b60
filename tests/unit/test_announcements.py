"""Clients are told beforehand, once; and cut for a missing update only after that (C7.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta

import pytest

from hoster.clients.announcements import Kind, by_client, of_image, on_nodes, require_overdue
from hoster.clients.contact import Client
from hoster.errors import ConfigurationError, RuleError
from hoster.ledger import Ledger, Told
from hoster.orders.declarations import VpsDeclaration

ZONE = "Europe/Paris"
DUE = datetime(2026, 3, 10, tzinfo=UTC)


def announced(ledger: Ledger, now: datetime, vpss: Sequence[str] = ("acme/db", "acme/web")) -> Told:
    return ledger.announcements.announce(
        Kind.UPDATE, "debian-12", vpss, now, at=DUE, what="openssl", timezone=ZONE
    )


def test_those_on_a_node_and_those_of_an_image_are_found(
    declared: Callable[..., VpsDeclaration],
) -> None:
    """Of whatever release: the update concerns older ones all the more."""
    web = declared()
    db = declared("acme/db", node="paris-2", image="debian-12@20250101-1")
    mail = declared("zoe/mail", image="other@1")

    assert ["acme/web", "zoe/mail"] == on_nodes([mail, db, web], {"paris-1"})
    assert ["acme/db", "acme/web"] == of_image([mail, db, web], "debian-12")
    assert {"acme": ["acme/db", "acme/web"], "zoe": ["zoe/mail"]} == by_client(
        ["acme/db", "acme/web", "zoe/mail"]
    )


def test_a_client_gets_one_mail_for_all_its_vpss_and_no_second(
    ledger: Ledger, now: datetime
) -> None:
    first, again = (announced(ledger, now) for _ in range(2))

    assert (("acme",), ()) == (first.clients, again.clients)
    assert first.announcement.id == again.announcement.id
    [mail] = ledger.outbox.mails()
    assert (["acme/db", "acme/web"], "openssl") == (mail.values["vpss"], mail.values["what"])


def test_who_came_since_is_told_too(ledger: Ledger, now: datetime) -> None:
    announced(ledger, now, ["acme/web"])
    later = announced(ledger, now, ["acme/db", "acme/web", "nobody/web"])

    assert (("acme",), ("nobody",)) == (later.clients, later.unknown)
    assert ["acme/db"] == ledger.outbox.mails()[-1].values["vpss"]
    assert ["acme/db", "acme/web", "nobody/web"] == later.announcement.left


def test_reminders_go_to_those_who_are_left_once_a_day(ledger: Ledger, now: datetime) -> None:
    number = announced(ledger, now).announcement.id
    assert ["acme/db"] == ledger.announcements.settle(number, ["acme/db"], now)
    assert [] == ledger.announcements.settle(number, ["acme/db"], now)
    days = [date(2026, 3, 5), date(2026, 3, 5), date(2026, 3, 8)]
    told = [
        ledger.announcements.remind(number, now, today=day, timezone=ZONE).clients for day in days
    ]

    assert [("acme",), (), ("acme",)] == told
    assert ["update", "update-reminder", "update-reminder"] == [
        mail.template for mail in ledger.outbox.mails()
    ]
    assert ["acme/web"] == ledger.outbox.mails()[-1].values["vpss"]
    with pytest.raises(ConfigurationError, match="does not concern acme/nas"):
        ledger.announcements.settle(number, ["acme/nas"], now)
    with pytest.raises(ConfigurationError, match=r"no update .* number 9"):
        ledger.announcements.remind(9, now, today=days[0], timezone=ZONE)


def test_a_vps_is_cut_for_an_update_only_when_it_is_overdue_and_was_reminded(
    ledger: Ledger, now: datetime
) -> None:
    """C7.3."""

    def refused(when: datetime) -> str:
        try:
            require_overdue("acme/web", ledger.announcements.all(), when)
        except RuleError as error:
            return error.message
        return ""

    after = DUE + timedelta(hours=1)
    assert "no update was announced" in refused(after)
    number = announced(ledger, now).announcement.id
    assert "never reminded" in refused(after)
    ledger.announcements.remind(number, now, today=date(2026, 3, 5), timezone=ZONE)
    assert "gives it until 2026-03-10" in refused(DUE - timedelta(hours=1))
    assert not refused(after)
    ledger.announcements.settle(number, ["acme/web"], now)
    assert "no update was announced" in refused(after)


def test_a_maintenance_asks_nothing_of_clients(ledger: Ledger, now: datetime, ada: Client) -> None:
    told = ledger.announcements.announce(
        Kind.MAINTENANCE,
        "paris-1",
        ["acme/web"],
        now,
        at=DUE,
        until=DUE + timedelta(hours=2),
        timezone=ZONE,
    )

    assert (ada.name,) == told.clients
    with pytest.raises(ConfigurationError, match="no update was announced under"):
        ledger.announcements.settle(told.announcement.id, ["acme/web"], now)
