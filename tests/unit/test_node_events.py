"""What host nodes tell: read strictly, kept once, told to the client once (C4.9, C4.10)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import event as tried
from hypothesis import strategies as st

from hoster.catalogue import Company
from hoster.clients.contact import Client
from hoster.clients.notices import MAILED, notice
from hoster.ledger import Ledger
from hoster.mail.message import compose
from hoster.wire.answers import AnswerError
from hoster.wire.answers import events as parse
from hoster.wire.events import NodeEvent

SideBySide = Callable[[str, list[list[str]]], list[str]]
STREAM, OTHER = "a" * 32, "b" * 32
DETAILS = {
    "ipv4": "203.0.113.17",
    "timezone": "Europe/Paris",
    "bytes": 8 * 10**12,
    "quota_bytes": 10**13,
    "throttle_mbit_s": 1,
    "cycle_start": "2026-03-01T00:00:00+01:00",
    "cycle_end": "2026-04-01T00:00:00+02:00",
}


def written(number: int, kind: str = "vps-new", stream: str = STREAM, **fields: Any) -> str:
    """A line as the agent prints it."""
    said = {
        "id": f"{stream}:{number}",
        "stream": stream,
        "number": number,
        "at": "2026-03-15T10:00:00+00:00",
        "kind": kind,
        "subject": "acme/web",
        "details": DETAILS if kind.startswith("quota") else {},
    }
    return json.dumps(said | fields)


def event(number: int, kind: str = "vps-new", stream: str = STREAM, **fields: Any) -> NodeEvent:
    [read] = parse(written(number, kind, stream, **fields))
    return read


def test_an_answer_is_read_line_by_line() -> None:
    read = parse("\n".join(written(number) for number in (4, 5, 9)))

    assert [f"{STREAM}:{number}" for number in (4, 5, 9)] == [one.id for one in read]
    assert datetime(2026, 3, 15, 10, tzinfo=UTC) == read[0].at
    assert [] == parse("")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("hoster-node: no such thing", "line 1 is no event"),
        (written(1)[:-9], "line 1 is no event"),
        (written(1, at="2026-03-15T10:00:00"), "at: .*timezone"),
        (written(1, stream="../../etc"), "stream: "),
        (written(0), "number: "),
        (written(1, kind=""), "kind: "),
        (written(1, details=[]), "details: "),
        (written(1, details={"bytes": float("nan")}), "details: "),
        (written(10**18), "number: "),
        (written(1, at="9999-12-31T23:59:59-12:00"), "at: "),
        (written(1, subject="acme/\x00web"), "subject: "),
        (written(1, kind="\x1b[2J"), "kind: "),
        (f"{written(2)}\n{written(2)}", "line 2: .*:2 does not follow .*:2"),
        (f"{written(1)}\n{written(2, stream=OTHER)}", "line 2: .* does not follow"),
    ],
)
def test_what_is_no_answer_of_an_agent_is_refused(answer: str, said: str) -> None:
    with pytest.raises(AnswerError, match=said):
        parse(answer)


@given(st.text())
def test_any_text_is_events_or_refused(text: str) -> None:
    with suppress(AnswerError):
        assert all(isinstance(one, NodeEvent) for one in parse(text))


@pytest.mark.parametrize("kind", ["quota-80", "quota-100", "quota-throttle-lifted"])
def test_a_level_of_a_cycle_is_one_occasion(kind: str) -> None:
    """C4.10: also where the state was lost, and it is reached anew; a larger quota is another."""
    first, again = notice(event(1, kind)), notice(event(7, kind, OTHER))
    larger = notice(event(8, kind, details=DETAILS | {"quota_bytes": 2 * 10**13}))

    assert first is not None
    assert again is not None
    assert larger is not None
    assert (first.occasion, first.client, first.template) == (again.occasion, "acme", kind)
    assert first.occasion != larger.occasion


def test_what_is_no_clients_business_is_no_mail() -> None:
    assert notice(event(1)) is None
    for subject in ("vps-cb007111", "acme/", "acme/web/2", "acme/web\u2028Bcc: all"):
        assert notice(event(1, "quota-80", subject=subject)) is None
    assert notice(event(1, "quota-80", details={"bytes": 1})) is None


@pytest.mark.parametrize("kind", MAILED)
@pytest.mark.parametrize("name", sorted(DETAILS.keys() - {"cycle_start"}))
@pytest.mark.parametrize("value", [None, [], "", "x" * 300, -1, 1.5, "2026-04-01T00:00:00"])
def test_a_detail_that_no_mail_can_say_is_no_mail(kind: str, name: str, value: object) -> None:
    """A mail that cannot be rendered would hold up all that wait behind it."""
    assert notice(event(1, kind)) is not None
    lifted_by_unlimited = (kind, name, value) == ("quota-throttle-lifted", "quota_bytes", None)
    asked = notice(event(1, kind, details=DETAILS | {name: value}))
    assert lifted_by_unlimited == (asked is not None)
    left = {key: said for key, said in DETAILS.items() if key != name}
    assert notice(event(1, kind, details=left)) is None


def test_a_plan_with_unlimited_traffic_lifts_the_throttle_and_the_client_is_told() -> None:
    """C4.10."""
    unlimited = DETAILS | {"quota_bytes": None}

    assert notice(event(1, "quota-throttle-lifted", details=unlimited)) is not None
    assert notice(event(1, "quota-100", details=unlimited)) is None


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
AMOUNTS = st.integers(0, 2**64)
TIMES = st.datetimes(timezones=st.timezones()).map(datetime.isoformat)
LIKELY = {
    "number": AMOUNTS,
    "at": TIMES,
    "kind": st.text(max_size=41),
    "subject": st.text(max_size=64),
    "ipv4": st.ip_addresses().map(str),
    "timezone": st.timezone_keys() | st.just("Nowhere/Land"),
    "bytes": AMOUNTS,
    "quota_bytes": AMOUNTS,
    "throttle_mbit_s": AMOUNTS,
    "cycle_end": TIMES,
}


def twisted(names: Iterable[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Up to two of *names* with another value, likely or not."""
    one = st.sampled_from(sorted(names)).flatmap(
        lambda name: st.tuples(st.just(name), LIKELY.get(name, st.nothing()) | ANYTHING)
    )
    return st.lists(one, max_size=2).map(dict)


SAID = st.builds(
    lambda kind, event, details, more: (
        {"number": 1, "at": DETAILS["cycle_start"], "kind": kind, "subject": "acme/web"}
        | {"details": DETAILS | details | more}
        | event
    ),
    st.sampled_from(MAILED),
    twisted(["number", "at", "kind", "subject", "details"]),
    twisted(DETAILS),
    st.dictionaries(st.text(), ANYTHING, max_size=2),
)


@settings(
    max_examples=2 * settings.default.max_examples,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(said=SAID)
def test_whatever_is_read_can_be_kept_and_every_mail_be_sent(
    ledger: Ledger, ada: Client, company: Company, now: datetime, said: dict[str, Any]
) -> None:
    """One node that talks nonsense hinders no other, on either database."""
    try:
        page = parse(json.dumps({"stream": uuid.uuid4().hex} | said))
    except AnswerError:
        return
    ledger.node_events.keep("paris-1", page, now)

    tried("kept")
    [kept] = ledger.node_events.latest(limit=1)
    assert page[0] == kept.event
    wanted = notice(page[0])
    if wanted is not None:
        tried("a mail")
        for language in ("fr", "en"):
            compose(
                wanted.template,
                client=ada.model_copy(update={"language": language}),
                company=company,
                values=wanted.values,
                message_id="<1@hoster>",
                date=now,
            )


def test_events_and_mails_are_kept_together_and_once(ledger: Ledger, now: datetime) -> None:
    page = [event(1), event(2, "quota-80"), event(3, "quota-100")]

    first = ledger.node_events.keep("paris-1", page, now)
    again = ledger.node_events.keep("paris-1", page, now)
    more = ledger.node_events.keep("paris-1", [*page[1:], event(4, "quota-100")], now)

    assert (3, 2, 0) == (first.new, len(first.mails), first.missing)
    assert (0, ()) == (again.new, again.mails)
    assert (1, ()) == (more.new, more.mails)
    assert {"paris-1": (STREAM, 4)} == ledger.node_events.last(["paris-1", "roubaix-1"])
    assert ["quota-80", "quota-100"] == [mail.template for mail in ledger.outbox.mails()]


def test_a_state_made_anew_is_another_stream(ledger: Ledger, now: datetime) -> None:
    ledger.node_events.keep("paris-1", [event(number) for number in (1, 2)], now)
    anew = ledger.node_events.keep("paris-1", [event(1, stream=OTHER)], now)

    assert (1, 0) == (anew.new, anew.missing)
    assert {"paris-1": (OTHER, 1)} == ledger.node_events.last(["paris-1"])


def test_what_a_node_dropped_before_it_was_asked_is_counted(ledger: Ledger, now: datetime) -> None:
    ledger.node_events.keep("paris-1", [event(1)], now)
    assert 5 == ledger.node_events.keep("paris-1", [event(7), event(8)], now).missing


def test_a_client_that_is_not_known_hinders_nothing(ledger: Ledger, now: datetime) -> None:
    page = [event(1, "quota-80", subject="nobody/web"), event(2, "quota-80")]
    kept = ledger.node_events.keep("paris-1", page, now)

    assert (2, 1, ("nobody",)) == (kept.new, len(kept.mails), kept.unknown)


def test_a_dry_run_keeps_nothing(ledger: Ledger, now: datetime) -> None:
    page = [event(1, "quota-80"), event(2, "quota-100"), event(3)]
    with ledger.together(dry_run=True):
        kept = ledger.node_events.keep("paris-1", page, now)

    assert (3, 2) == (kept.new, len(kept.mails))
    assert ([], []) == (ledger.node_events.latest(), ledger.outbox.mails())


def test_events_are_found_by_vps_kind_and_node(ledger: Ledger, now: datetime) -> None:
    ledger.node_events.keep("paris-1", [event(1), event(2, "throttle")], now)
    ledger.node_events.keep("roubaix-1", [event(1, stream=OTHER, subject="acme/db")], now)

    def found(**wanted: Any) -> list[tuple[str, int]]:
        return [(one.node, one.event.number) for one in ledger.node_events.latest(**wanted)]

    assert [("paris-1", 1), ("paris-1", 2), ("roubaix-1", 1)] == found()
    assert [("roubaix-1", 1)] == found(subject="acme/db")
    assert [("paris-1", 2)] == found(kinds=["throttle"])
    assert [("paris-1", 1), ("paris-1", 2)] == found(node="paris-1")
    assert [("roubaix-1", 1)] == found(limit=1)


COLLECTED = """
import json
import sys
from datetime import UTC, datetime
from hoster.ledger import Ledger
from hoster.wire.answers import events as parse

url, node, first, last = sys.argv[1:]
said = {
    "stream": "a" * 32,
    "at": "2026-03-15T10:00:00+00:00",
    "subject": "acme/web",
    "details": {
        "ipv4": "203.0.113.17",
        "timezone": "Europe/Paris",
        "bytes": 8 * 10**12,
        "quota_bytes": 10**13,
        "throttle_mbit_s": 1,
        "cycle_end": "2026-04-01T00:00:00+02:00",
    },
}
with Ledger.open(url) as ledger:
    for end in range(int(first), int(last) + 1):
        page = [
            json.dumps(said | {"number": number, "kind": f"quota-{80 + number % 2}"})
            for number in range(1, end + 1)
        ]
        kept = ledger.node_events.keep(node, parse("\\n".join(page)), datetime.now(UTC))
        print(kept.new, len(kept.mails))
"""


def test_what_two_collect_at_once_is_kept_once_and_mailed_once(
    ledger: Ledger, ledger_url: str, side_by_side: SideBySide
) -> None:
    """C4.9, C4.10: pages that grow while both read them."""
    said = side_by_side(COLLECTED, [[ledger_url, "paris-1", "1", "20"]] * 2)

    counts = [tuple(map(int, line.split())) for output in said for line in output.splitlines()]
    assert (20, 1) == (sum(new for new, _ in counts), sum(mails for _, mails in counts))
    assert list(range(1, 21)) == [one.event.number for one in ledger.node_events.latest()]
    assert ["quota-80"] == [mail.template for mail in ledger.outbox.mails()]


KINDS = ("vps-new", "quota-80", "quota-100", "throttle")
PAGES = st.lists(
    st.tuples(st.sampled_from(["paris-1", "roubaix-1"]), st.integers(0, 30), st.integers(1, 12)),
    max_size=20,
)


@settings(
    max_examples=settings.default.max_examples // 2,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=30), pages=PAGES)
def test_whatever_pages_are_handed_in_each_event_is_kept_once(
    fresh_ledger: Callable[[], Ledger],
    ada: Client,
    now: datetime,
    kinds: list[str],
    pages: list[tuple[str, int, int]],
) -> None:
    """C4.9, C4.10: overlapping, again, by two collectors; none before an earlier one."""
    streams = {"paris-1": STREAM, "roubaix-1": OTHER}
    told = {
        node: [
            event(number, kind, stream, subject=f"acme/{node}")
            for number, kind in enumerate(kinds, start=1)
        ]
        for node, stream in streams.items()
    }
    with fresh_ledger() as ledger:
        ledger.clients.add(ada, now)
        for node, start, length in pages:
            known = ledger.node_events.last([node]).get(node, ("", 0))[1]
            first = min(start, known)  # what an agent is asked for is never beyond what is kept
            ledger.node_events.keep(node, told[node][first : first + length], now)
        for node in streams:
            ledger.node_events.keep(node, told[node], now + timedelta(minutes=1))
            kept = [one.event.number for one in ledger.node_events.latest(node=node)]
            assert list(range(1, len(kinds) + 1)) == kept
        mailed = [mail.occasion for mail in ledger.outbox.mails()]
        levels = {kind for kind in kinds if kind.startswith("quota")}
        assert len(mailed) == len(set(mailed)) == len(levels) * len(streams)
