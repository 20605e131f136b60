"""What control machine and node say to each other: read as it was written, whatever it says.

Its metadata are in `test_node_vps.py`, its names in `test_addresses.py`.
"""

from __future__ import annotations

import json
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from hoster.clients.notices import MAILED, notice
from hoster.node import status as status_of
from hoster.node.cli import main
from hoster.node.store import Known, Measure, Store
from hoster.wire import answers, events, measures, status
from hoster.wire.events import EventId, EventKind, NodeEvent, QuotaDetails, asked_after
from hoster.wire.measures import MeasureJob
from hoster_lab.node_state import NOW, known, vps

texts = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=40)
details = st.dictionaries(
    texts.filter(lambda name: name not in {"self", "at", "kind", "subject"}),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63) | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=4,
    ),
    max_size=4,
)
moments = st.builds(datetime.fromtimestamp, st.integers(0, 2**34), st.timezones())
said = st.tuples(moments, st.sampled_from(list(EventKind)) | texts.filter(bool), texts, details)
amounts = st.integers(0, 10**events.MOST_DIGITS - 1)
quotas = st.builds(
    QuotaDetails,
    ipv4=st.ip_addresses(v=4).map(str),
    timezone=st.sampled_from(["UTC", "Europe/Paris"]),
    bytes=amounts,
    quota_bytes=amounts,
    throttle_mbit_s=amounts,
    cycle_start=moments.map(datetime.isoformat),
    cycle_end=moments.map(datetime.isoformat),
)


def hoster_node(state: Path, *command: str, stdin: str = "") -> Result:
    return CliRunner().invoke(main, ["--state", str(state), *command], input=stdin)


@given(told=st.lists(said, max_size=4))
def test_an_event_is_collected_as_the_agent_appended_it(
    tmp_path_factory: pytest.TempPathFactory, told: list[tuple[datetime, str, str, dict[str, Any]]]
) -> None:
    """C4.9: number, time, kind, subject, and every detail."""
    state = tmp_path_factory.mktemp("node") / "node.sqlite"
    with closing(Store(state)) as store:
        with store.hold():
            for at, kind, subject, more in told:
                store.append(at, kind, subject, **more)
        kept = store.events()

    assert told == [(one.at, one.kind, one.subject, one.details) for one in kept]
    assert kept == answers.events(hoster_node(state, "events", "--json").stdout)


@given(stream=st.text("0123456789abcdef", min_size=32, max_size=32), number=amounts)
def test_an_event_is_asked_for_by_the_id_that_it_has(stream: str, number: int) -> None:
    at = datetime.fromisoformat("2026-03-15T10:00:00+00:00")
    event = NodeEvent(stream, number, at, "vps-new", "acme/web", {})

    assert EventId(stream, number) == asked_after(event.id)
    assert number == asked_after(str(number))


@pytest.mark.parametrize("kind", MAILED)
@given(quota=quotas)
def test_a_client_is_told_of_a_quota_what_the_agent_says_of_it(
    kind: str, quota: QuotaDetails
) -> None:
    """C4.10: all but the cycle's start, which no mail says."""
    at = datetime.fromisoformat("2026-03-15T10:00:00+00:00")
    told = notice(NodeEvent("a" * 32, 1, at, kind, "acme/web", dict(quota)))

    assert told is not None
    expected = {"vps": "acme/web", "at": at.isoformat(), **quota}
    assert told.values == {name: expected[name] for name in expected if name != "cycle_start"}


def test_every_kind_of_event_is_in_the_manual() -> None:
    manual = (Path(__file__).parents[2] / "docs/events.md").read_text()
    kinds = [*EventKind, *map(events.quota_reached, events.QUOTA_LEVELS), *measures.KINDS]

    assert [] == [kind for kind in kinds if f"`{kind}`" not in manual]


jobs = st.builds(
    MeasureJob,
    vps=texts,
    kind=st.sampled_from([measures.CUT, measures.THROTTLE]),
    name=texts,
    lift=st.booleans(),
    reason=texts,
    measure=st.none() | st.integers(1, 2**62),
)


@given(told=st.lists(jobs, max_size=4))
def test_a_measure_is_read_as_the_act_told_it(told: list[MeasureJob]) -> None:
    """C4.11."""
    line = json.dumps([job.as_json() for job in told])

    assert told == measures.jobs_of_json(json.loads(line))


def test_a_measure_against_nobody_is_told_and_the_others_are_done(tmp_path: Path) -> None:
    """C4.11: an answer for each, in their order; what is in force already is no error."""
    state, name = tmp_path / "node.sqlite", "measure-17"
    cut = Measure(measures.CUT, name, "", NOW)
    with closing(Store(state)) as store, store.hold():
        store.put(known(vps(), measures=(cut,)))
    told = [MeasureJob(one, measures.CUT, name).as_json() for one in ("acme/db", "acme/web")]

    done = hoster_node(state, "measures", stdin=json.dumps(told))

    db, web = json.loads(done.stdout)
    assert ("acme/db", False) == (db["vps"], db["changed"])
    assert {"vps": "acme/web", "changed": False, "text": "quarantined already"} == web
    assert (1, f"hoster-node: acme/db: {db['error']}\n") == (done.exit_code, done.stderr)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("", "standard input is no JSON"),
        ("{}", "no list of measures"),
        ("[17]", "no list of measures"),
        ('[{"kind": "quarantine"}]', "no list of measures"),
        ('[{"vps": "acme/web", "kind": "block-port", "as": "25/tcp"}]', "no list of measures"),
        ('[{"vps": "acme/web", "kind": "quarantine", "as": null}]', "no list of measures"),
        ('[{"vps": "acme/web", "kind": "quarantine", "lift": "no"}]', "no list of measures"),
    ],
)
def test_what_no_act_tells_is_refused_and_nothing_of_it_is_done(
    tmp_path: Path, told: str, said: str
) -> None:
    done = hoster_node(tmp_path / "node.sqlite", "measures", stdin=told)

    assert 2 == done.exit_code
    assert said in done.stderr


states = st.builds(
    known,
    st.builds(
        vps, name=texts, traffic_bytes=st.none() | amounts, ceiling_mbit_s=st.none() | amounts
    ),
    running=st.booleans(),
    used_bytes=amounts,
    measures=st.lists(
        st.builds(Measure, st.sampled_from(measures.KINDS), texts, texts, moments), max_size=3
    ).map(tuple),
)


@given(kept=st.lists(states, max_size=3))
def test_what_a_node_says_of_its_vpss_is_read_as_it_was_meant(kept: list[Known]) -> None:
    said = [status_of.of(each, NOW) for each in kept]

    assert said == status.read(status.written(said))
    assert [(each.vps.full_name, each.vps.plan, each.running) for each in kept] == [
        (each["vps"], each["plan"], each["running"]) for each in said
    ]
