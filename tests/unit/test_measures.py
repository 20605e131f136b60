"""Incidents and measures in the ledger, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hoster.catalogue import IncidentPolicy
from hoster.errors import ConfigurationError, RuleError
from hoster.incidents.measures import SUSPENSIONS, Grade, grade
from hoster.incidents.situation import Act, Situation, State
from hoster.ledger import Ledger

POLICY = IncidentPolicy()
ZONE = "Europe/Paris"
WEB = "acme/web"


def mails(ledger: Ledger) -> list[str]:
    return [mail.template for mail in ledger.outbox.mails()]


def quarantined(ledger: Ledger, now: datetime, kind: str = "hacked", **fields: str) -> int:
    """Open an incident and have its node do it; return the measure's number."""
    severity = fields.get("severity", "serious")
    number = ledger.measures.quarantine(WEB, kind, severity, now).measure.id
    ledger.measures.confirm([number], now, ZONE)
    return number


def reconnected(ledger: Ledger, now: datetime, **fields: str) -> None:
    wanted = ledger.measures.reconnect(WEB, now, policy=POLICY, **fields)
    ledger.measures.confirm([wanted.measure.id], now, ZONE)


def test_a_quarantine_is_wanted_in_force_and_told_once(ledger: Ledger, now: datetime) -> None:
    """C6.1, C15.1: a run that was cut is run again, at each step."""
    until = now + timedelta(hours=24)
    first, again = (
        ledger.measures.quarantine(
            WEB, "hacked", "serious", now, evidence="t-1", expected_until=until
        )
        for _ in range(2)
    )
    assert (True, False) == (first.changed, again.changed)
    assert first.measure == again.measure
    assert "wanted" == first.measure.stage
    assert [] == mails(ledger)

    done, twice = (ledger.measures.confirm([first.measure.id], now, ZONE)[0] for _ in range(2))
    assert (True, False) == (done.changed, twice.changed)
    assert "in force" == done.measure.stage
    assert ["quarantine-in-force"] == mails(ledger)
    [incident] = ledger.incidents.all(WEB, open_only=True)
    assert ("hacked", "serious", "t-1", until) == (
        incident.kind,
        incident.severity,
        incident.evidence,
        incident.expected_until,
    )
    assert State.CUT == ledger.measures.situation(WEB).state


def test_a_reconnection_closes_the_incident_and_tells_it_once(
    ledger: Ledger, now: datetime
) -> None:
    """C6.2."""
    quarantined(ledger, now)
    first, again = (ledger.measures.reconnect(WEB, now, policy=POLICY) for _ in range(2))
    assert (True, False) == (first.changed, again.changed)
    assert 1 == len(ledger.incidents.all(WEB, open_only=True))  # until its node let go of it

    for changed in (True, False):
        [done] = ledger.measures.confirm([first.measure.id], now, ZONE)
        assert changed == done.changed
    assert [] == ledger.incidents.all(WEB, open_only=True)
    assert not ledger.measures.reconnect(WEB, now, policy=POLICY).changed  # the same run again
    assert ["quarantine-in-force", "quarantine-lifted"] == mails(ledger)
    assert State.CONNECTED == ledger.measures.situation(WEB).state


def test_each_reason_is_lifted_by_itself(ledger: Ledger, now: datetime) -> None:
    """C15.1: paying lifts what was unpaid, and no quarantine."""
    quarantined(ledger, now)
    for reason in ("unpaid", "identity"):
        ledger.measures.confirm(
            [ledger.measures.suspend(WEB, reason, "", now).measure.id], now, ZONE
        )
    paid = ledger.measures.resume(WEB, "unpaid", "transfer 4", now).measure
    ledger.measures.confirm([paid.id], now, ZONE)

    left = ledger.measures.all(WEB, in_force=True)
    assert [("quarantine", "hacked"), ("suspend", "identity")] == [
        (one.kind, one.ground) for one in left
    ]
    assert ["hacked", "identity"] == ledger.outbox.mails()[-1].values["left"]
    with pytest.raises(RuleError, match="name one of what is in force: identity"):
        ledger.measures.resume(WEB, "licence", "", now)


def test_nothing_to_lift_is_refused_with_what_is_possible(ledger: Ledger, now: datetime) -> None:
    with pytest.raises(RuleError, match=r"connected.*nothing to reconnect") as caught:
        ledger.measures.reconnect(WEB, now, policy=POLICY)
    assert "quarantine, suspend" in str(caught.value)
    ledger.measures.suspend(WEB, "unpaid", "", now)
    with pytest.raises(RuleError, match="cut off, and no quarantine is in force"):
        ledger.measures.reconnect(WEB, now, policy=POLICY)


def test_of_several_incidents_one_is_named(ledger: Ledger, now: datetime) -> None:
    for kind in ("scan", "spam"):
        quarantined(ledger, now, kind, severity="minor")
    with pytest.raises(RuleError, match=r"1 \(scan\), 2 \(spam\)"):
        ledger.measures.reconnect(WEB, now, policy=POLICY)
    second = ledger.measures.reconnect(WEB, now, policy=POLICY, incident=2)
    assert "spam" == second.measure.ground


def test_a_repeated_or_severe_breach_is_refused_but_for_a_reason(
    ledger: Ledger, now: datetime
) -> None:
    """C6.2, C15.1: by the policy's table; what ops override is recorded."""
    quarantined(ledger, now)
    reconnected(ledger, now)
    quarantined(ledger, now + timedelta(days=30))
    with pytest.raises(RuleError, match="not the first"):
        ledger.measures.reconnect(WEB, now, policy=POLICY)
    reconnected(ledger, now + timedelta(days=30), override="the appeal was right")
    assert "the appeal was right" == ledger.incidents.all(WEB)[-1].closing

    quarantined(ledger, now + timedelta(days=500))
    reconnected(ledger, now + timedelta(days=500))  # the others are too long ago
    quarantined(ledger, now + timedelta(days=2000), severity="severe")
    with pytest.raises(RuleError, match="severe"):
        ledger.measures.reconnect(WEB, now, policy=POLICY)


@pytest.mark.parametrize(
    ("severity", "verdicts"), [("minor", "aarrr"), ("serious", "arrrr"), ("severe", "rrrrr")]
)
def test_the_table_grades_by_severity_and_recurrence(severity: str, verdicts: str) -> None:
    letters = {Grade.RECONNECT: "a", Grade.REFUSE: "r"}
    table = POLICY.after_correction
    assert verdicts == "".join(letters[grade(table, severity, earlier)] for earlier in range(5))


def test_a_client_that_is_not_known_hinders_nothing(ledger: Ledger, now: datetime) -> None:
    wanted = ledger.measures.quarantine("nobody/web", "scan", "minor", now)
    [done] = ledger.measures.confirm([wanted.measure.id], now, ZONE)
    assert (True, False) == (done.changed, done.told)
    with pytest.raises(ConfigurationError, match="no measure 99"):
        ledger.measures.confirm([99], now, ZONE)


def test_acts_of_one_run_are_kept_together_or_not_at_all(ledger: Ledger, now: datetime) -> None:
    def both() -> None:
        with ledger.together():
            ledger.measures.suspend(WEB, "unpaid", "", now)
            ledger.measures.resume("acme/db", "unpaid", "", now)

    with pytest.raises(RuleError):
        both()
    assert [] == ledger.measures.all()
    with ledger.together(dry_run=True):
        assert ledger.measures.suspend(WEB, "unpaid", "", now).changed
    assert [] == ledger.measures.all()
    with ledger.together():
        ledger.measures.suspend(WEB, "unpaid", "", now)
    assert 1 == len(ledger.measures.all())


KINDS = {"compliance": "scan", "court-order": "spam", "identity": "hacked"}
"""What an incident of a property test is, for the reason of a suspension."""
ACTS = st.lists(
    st.tuples(
        st.sampled_from(["quarantine", "reconnect", "suspend", "resume"]),
        st.sampled_from(sorted(SUSPENSIONS)[:3]),
        st.booleans(),
    ),
    min_size=8,
    max_size=25,
)


def done(ledger: Ledger, act: str, reason: str, now: datetime) -> int:
    """Do an act for the reason, or for the incident that stands for it; return the measure."""
    kind = KINDS[reason]
    if act == "quarantine":
        return ledger.measures.quarantine(WEB, kind, "minor", now).measure.id
    if act == "suspend":
        return ledger.measures.suspend(WEB, reason, "", now).measure.id
    if act == "resume":
        return ledger.measures.resume(WEB, reason, "", now).measure.id
    number = 0
    for one in ledger.incidents.all(WEB, open_only=True):
        if one.kind == kind:
            number = ledger.measures.reconnect(
                WEB, now, policy=POLICY, incident=one.id, override="a test"
            ).measure.id
    return number


@settings(
    max_examples=settings.default.max_examples // 2,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(acts=ACTS)
def test_a_vps_is_cut_as_long_as_a_measure_is_left(
    fresh_ledger: Callable[[], Ledger], now: datetime, acts: list[tuple[str, str, bool]]
) -> None:
    """C15.1: whatever is done in whatever order, confirmed or cut short and done again."""
    expected: set[tuple[str, str]] = set()
    with fresh_ledger() as ledger:
        for act, reason, cut_short in acts:
            number = 0
            with suppress(RuleError):
                number = done(ledger, act, reason, now)
            if number and act == "quarantine":
                expected.add((Act.QUARANTINE, KINDS[reason]))
            elif number and act == "suspend":
                expected.add((Act.SUSPEND, reason))
            elif number and act == "resume":
                expected.discard((Act.SUSPEND, reason))
            elif number:
                expected.discard((Act.QUARANTINE, KINDS[reason]))
            if number and not cut_short:
                ledger.measures.confirm([number], now, ZONE)
            measures = ledger.measures.all(WEB)
            assert expected == {(one.kind, one.ground) for one in measures if one.is_wanted}
        left = [one for one in ledger.measures.all(WEB) if not one.is_lifted]
        assert bool(left) == (ledger.measures.situation(WEB).state is State.CUT)
        assert (Act.RECONNECT in ledger.measures.situation(WEB).possible()) == any(
            one.incident for one in left
        )
        assert ledger.trail.verify().broken is None


def test_the_trail_is_a_chain_that_a_change_breaks(
    ledger: Ledger, ledger_url: str, now: datetime
) -> None:
    """C15.1: by whoever owns the database, and drops its triggers."""
    from sqlalchemy import create_engine, make_url, text

    quarantined(ledger, now)
    whole = ledger.trail.verify()
    reconnected(ledger, now)
    assert ledger.trail.verify(whole.head).anchored
    assert not ledger.trail.verify("f" * 64).anchored
    assert ledger.trail.verify().broken is None

    target = make_url(ledger_url)
    sqlite = target.get_backend_name() == "sqlite"
    engine = create_engine(target if sqlite else target.set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        off = "DROP TRIGGER event_no_update" if sqlite else "ALTER TABLE event DISABLE TRIGGER ALL"
        connection.execute(text(off))
        connection.execute(text("UPDATE event SET actor = 'somebody else' WHERE id = 3"))
    engine.dispose()
    assert 3 == ledger.trail.verify().broken


ALWAYS = {Act.QUARANTINE, Act.SUSPEND}


@pytest.mark.parametrize(
    ("situation", "state", "possible"),
    [
        (Situation(), State.CONNECTED, {*ALWAYS, Act.REINSTALL, Act.TERMINATE}),
        (
            Situation(is_reinstalling=True),
            State.REINSTALLING,
            {*ALWAYS, Act.REINSTALL, Act.GIVE_UP, Act.TERMINATE},
        ),
        (Situation(is_reinstalling=True, is_ending=True), State.ENDING, {Act.TERMINATE}),
        (Situation(is_ending=True, has_ended=True), State.ENDED, set()),
    ],
)
def test_each_state_says_what_can_be_done_and_refuses_the_rest(
    situation: Situation, state: State, possible: set[Act]
) -> None:
    assert (state, possible) == (situation.state, set(situation.possible()))
    for act in Act:
        if act in possible:
            situation.require(WEB, act)
            continue
        with pytest.raises(RuleError, match=f"^{WEB} is {state}") as caught:
            situation.require(WEB, act)
        assert (
            caught.value.remedy == f"Possible now: {', '.join(situation.possible()) or 'nothing'}."
        )


def test_what_is_in_force_can_be_lifted_also_in_a_reinstall(ledger: Ledger, now: datetime) -> None:
    """C15.1: paying lifts a suspension meanwhile; a quarantine ends with the new system."""
    ledger.measures.suspend(WEB, "unpaid", "", now)
    quarantined(ledger, now)
    measures = ledger.measures.situation(WEB).measures
    everything = {*ALWAYS, Act.RECONNECT, Act.RESUME, Act.REINSTALL, Act.TERMINATE}
    assert everything == set(Situation(measures).possible())
    assert {*everything, Act.GIVE_UP} - {Act.RECONNECT} == set(
        Situation(measures, is_reinstalling=True).possible()
    )
