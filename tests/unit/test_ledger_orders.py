"""Orders in the ledger, from their codes to their delivery. Contract: C4.2, C4.3."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from ipaddress import IPv4Address

import pytest
from sqlalchemy.exc import DBAPIError

from hoster.errors import RuleError
from hoster.ledger import QUEUED, Ledger

Events = Callable[[str], list[tuple[str, str]]]
SideBySide = Callable[[str, list[list[str]]], list[str]]
WEB = IPv4Address("203.0.113.17")
VALUES = {"vps": "acme/web", "ipv4": str(WEB)}


def test_an_order_that_is_begun_again_gets_the_same_codes(
    ledger: Ledger, ledger_url: str, now: datetime, events: Events
) -> None:
    first = ledger.orders.begin("acme/web", WEB, user="debian", now=now)
    again = ledger.orders.begin("acme/web", WEB, user="debian", now=now + timedelta(days=1))

    assert first == again
    assert [("client-added", "acme"), ("order-begun", "acme/web")] == events(ledger_url)


def test_two_orders_have_two_passwords(ledger: Ledger, now: datetime) -> None:
    web = ledger.orders.begin("acme/web", WEB, user="debian", now=now)
    mail = ledger.orders.begin("acme/mail", WEB + 1, user="debian", now=now)

    assert web.password != mail.password


def test_a_delivered_vps_is_not_ordered_again(delivered: Ledger, now: datetime) -> None:
    with pytest.raises(RuleError, match="acme/web was delivered before, on 2026-03-01"):
        delivered.orders.begin("acme/web", WEB, user="debian", now=now)


ORDERS = """
import sys
from datetime import UTC, datetime
from ipaddress import IPv4Address
from hoster.ledger import Ledger

url, *names = sys.argv[1:]
with Ledger.open(url) as ledger:
    for name in names:
        codes = ledger.orders.begin(
            name, IPv4Address("203.0.113.17"), user="debian", now=datetime.now(UTC)
        )
        print(codes.vps, codes.password_hash)
"""


def test_twenty_orders_by_four_at_once_are_all_kept(
    ledger: Ledger, ledger_url: str, events: Events, side_by_side: SideBySide
) -> None:
    names = [[f"acme/vps-{which}-{number}" for number in range(5)] for which in range(4)]

    said = side_by_side(ORDERS, [[ledger_url, *mine] for mine in names])

    assert 20 == len({line.split()[1] for output in said for line in output.splitlines()})
    begun = [subject for kind, subject in events(ledger_url) if kind == "order-begun"]
    assert sorted(name for mine in names for name in mine) == sorted(begun)


def test_one_order_by_two_at_once_has_one_password(
    ledger: Ledger, ledger_url: str, events: Events, side_by_side: SideBySide
) -> None:
    said = side_by_side(ORDERS, [[ledger_url, "acme/web"]] * 2)

    assert 1 == len(set(said))
    assert 1 == [kind for kind, _ in events(ledger_url)].count("order-begun")


def test_a_released_address_is_remembered_from_its_last_release(
    ledger: Ledger, now: datetime
) -> None:
    later = now + timedelta(days=40)
    ledger.addresses.release(WEB, vps="acme/web", now=now)
    ledger.addresses.release(WEB, vps="beta/web", now=later)
    ledger.addresses.release(WEB + 1, vps="acme/mail", now=now)

    assert {WEB: later, WEB + 1: now} == ledger.addresses.released()


def test_an_ordered_address_is_held_until_it_is_given_back(ledger: Ledger, now: datetime) -> None:
    """C4.3: also when its VPS has vanished from the declarations."""
    ledger.orders.begin("acme/web", WEB, user="debian", now=now)
    assert {WEB} == ledger.addresses.held(besides="acme/mail")
    assert set() == ledger.addresses.held(besides="acme/web")

    ledger.addresses.release(WEB, vps="acme/web", now=now)
    assert set() == ledger.addresses.held(besides="acme/mail")


def test_a_delivery_queues_one_mail_and_notes_one_event(
    ordered: Ledger, ledger_url: str, now: datetime, events: Events
) -> None:
    assert ordered.orders.deliver("acme/web", VALUES, now) is True
    assert ordered.orders.deliver("acme/web", VALUES, now) is False

    [mail] = ordered.outbox.mails()
    assert ("delivery:acme/web", QUEUED, "acme", now) == (
        mail.occasion,
        mail.state,
        mail.client,
        mail.next_attempt_at,
    )
    assert 1 == events(ledger_url).count(("delivered", "acme/web"))


def test_a_vps_that_nobody_ordered_is_not_delivered(ledger: Ledger, now: datetime) -> None:
    with pytest.raises(RuleError, match="acme/web was not ordered here"):
        ledger.orders.deliver("acme/web", VALUES, now)

    assert [] == ledger.outbox.mails()


def test_a_delivery_that_fails_midway_leaves_neither_mail_nor_record(
    ledger: Ledger, ledger_url: str, now: datetime, events: Events
) -> None:
    ledger.orders.begin("stranger/web", WEB, user="debian", now=now)

    # The mail's client is none: the database refuses the mail after the record was made.
    with pytest.raises(DBAPIError):
        ledger.orders.deliver("stranger/web", VALUES, now)

    assert [] == ledger.outbox.mails()
    assert ("delivered", "stranger/web") not in events(ledger_url)
    ledger.orders.begin("stranger/web", WEB, user="debian", now=now)


DELIVERY = """
import sys
from datetime import UTC, datetime
from hoster.ledger import Ledger

with Ledger.open(sys.argv[1]) as ledger:
    print(ledger.orders.deliver("acme/web", {}, datetime.now(UTC)))
"""


def test_of_two_deliveries_at_once_one_counts(
    ordered: Ledger, ledger_url: str, side_by_side: SideBySide
) -> None:
    said = side_by_side(DELIVERY, [[ledger_url]] * 2)

    assert ["False\n", "True\n"] == sorted(said)
    assert 1 == len(ordered.outbox.mails())
