"""Clients in the ledger, and its audit trail, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from hoster.clients.contact import Client, client_of
from hoster.errors import ConfigurationError, RuleError
from hoster.ledger import Ledger, actor

EngineOf = Callable[[str], Engine]
Events = Callable[[str], list[tuple[str, str]]]


def test_a_client_comes_back_as_it_was_given(ledger: Ledger, ada: Client) -> None:
    assert ada == ledger.clients.named("acme")


def test_a_client_that_is_not_there_is_told_with_near_names(ledger: Ledger) -> None:
    with pytest.raises(ConfigurationError, match=r"no client acne; did you mean acme\?"):
        ledger.clients.named("acne")


def test_a_client_is_added_once(
    ledger: Ledger, ledger_url: str, ada: Client, now: datetime, events: Events
) -> None:
    assert ledger.clients.add(ada, now) is False
    assert [("client-added", "acme")] == events(ledger_url)


def test_a_client_is_not_overwritten_by_adding(
    ledger: Ledger, details: dict[str, Any], ada: Client, now: datetime
) -> None:
    with pytest.raises(RuleError, match="hoster client edit acme"):
        ledger.clients.add(client_of(details | {"city": "Roubaix"}), now)

    assert ada == ledger.clients.named("acme")


def test_an_edit_tells_what_changed_and_notes_no_personal_data(
    ledger: Ledger, ledger_url: str, details: dict[str, Any], now: datetime, engine_of: EngineOf
) -> None:
    changed = ledger.clients.edit(client_of(details | {"city": "Roubaix"}), now)

    assert ["city"] == changed
    assert "Roubaix" == ledger.clients.named("acme").city
    engine = engine_of(ledger_url)
    with engine.connect() as connection:
        noted = connection.execute(text("SELECT kind, actor, details FROM event ORDER BY id")).all()
    engine.dispose()
    last = noted[-1]
    found = json.loads(last.details) if isinstance(last.details, str) else last.details
    assert ("client-edited", actor(), {"fields": ["city"]}) == (last.kind, last.actor, found)


def test_an_edit_that_changes_nothing_is_no_event(
    ledger: Ledger, ledger_url: str, ada: Client, now: datetime, events: Events
) -> None:
    assert [] == ledger.clients.edit(ada, now)
    assert [("client-added", "acme")] == events(ledger_url)


def test_an_edit_of_nobody_is_refused(
    ledger: Ledger, details: dict[str, Any], now: datetime
) -> None:
    with pytest.raises(ConfigurationError, match="no client nobody"):
        ledger.clients.edit(client_of(details | {"name": "nobody"}), now)


def test_a_stored_client_outlives_a_change_of_what_is_valid(
    ledger: Ledger, ledger_url: str, ada: Client, engine_of: EngineOf
) -> None:
    # As if the telephone plan had changed since.
    stored = json.dumps(ada.model_dump() | {"phone": "+3312"})
    engine = engine_of(ledger_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE client SET details = :it"), {"it": stored})
    engine.dispose()

    assert "+3312" == ledger.clients.named("acme").phone


# --- events ---


@pytest.mark.parametrize("change", ["UPDATE event SET actor = 'eve'", "DELETE FROM event"])
def test_an_event_is_never_changed(
    ledger: Ledger, ledger_url: str, change: str, engine_of: EngineOf, events: Events
) -> None:
    engine = engine_of(ledger_url)

    with pytest.raises(DBAPIError, match="an event is never changed"), engine.begin() as connection:
        connection.execute(text(change))

    engine.dispose()
    assert [("client-added", "acme")] == events(ledger_url)


def test_the_author_is_who_stands_behind_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "ada")

    assert "ada" == actor()
