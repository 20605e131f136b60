"""What is final about a deployed VPS, change by change."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hoster.changes.deployed import DeployedVps, violations

BEFORE = DeployedVps(
    location="paris",
    node="paris-1",
    ipv4="203.0.113.17",
    image="debian-12@20250703",
    plan="kvm-2",
    disk_gib=20,
)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"location": "roubaix"}, ["location is paris", "says roubaix", "C10.1"]),
        ({"ipv4": "203.0.113.18"}, ["ipv4 is 203.0.113.17", "says 203.0.113.18", "C4.3"]),
        ({"node": "paris-2"}, ["node is paris-1", "says paris-2", "C6.3"]),
        ({"image": "debian-13@20260101"}, ["debian-12@20250703", "reinstall-vps.yml"]),
        ({"plan": "kvm-1", "disk_gib": 10}, ["10 GiB", "20 GiB", "never shrinks", "C4.7"]),
    ],
)
def test_what_is_final_is_refused_with_both_values_and_the_way_out(
    change: dict[str, str | int], said: list[str]
) -> None:
    [text] = violations("acme/web", BEFORE, replace(BEFORE, **change))
    assert text.startswith("acme/web: ")
    assert [part for part in said if part not in text] == []


@pytest.mark.parametrize("change", [{}, {"plan": "kvm-4", "disk_gib": 40}, {"plan": "kvm-2-hi"}])
def test_a_larger_plan_or_no_change_goes_ahead(change: dict[str, str | int]) -> None:
    assert violations("acme/web", BEFORE, replace(BEFORE, **change)) == []


def test_everything_at_once_is_all_said() -> None:
    other = replace(BEFORE, location="roubaix", node="roubaix-1", ipv4="203.0.113.140", disk_gib=1)
    assert len(violations("acme/web", BEFORE, other)) == 4


def test_facts_survive_the_way_through_the_state() -> None:
    """Pulumi hands numbers back as floats."""
    outputs = {**BEFORE.outputs(), "disk_gib": 20.0, "uuid": "unknown to the facts"}
    assert DeployedVps.from_outputs(outputs) == BEFORE


SECOND = replace(BEFORE, image="debian-13@20260101", installation=2, former=1)


def test_a_reinstall_and_the_way_back_go_ahead() -> None:
    """C6.3, C7.5: the former disk stays until it is erased, and is the way back until then."""
    steps = [(BEFORE, SECOND), (SECOND, SECOND), (SECOND, BEFORE)]
    erased = replace(SECOND, former=0)
    steps += [(SECOND, erased), (erased, replace(SECOND, installation=3, former=2))]
    assert [violations("acme/web", before, after) for before, after in steps] == [[]] * len(steps)


@pytest.mark.parametrize(
    ("before", "declared", "said"),
    [
        (BEFORE, replace(SECOND, former=0), "would be left behind"),
        (BEFORE, replace(BEFORE, installation=0), "would be left behind"),
        (SECOND, replace(SECOND, installation=3, former=2), "would be left behind"),
        (replace(SECOND, former=0), BEFORE, "would be left behind"),
        (BEFORE, replace(BEFORE, former=7), "there is no such disk"),
        (SECOND, replace(SECOND, image="debian-12@20250703"), "image is pinned"),
    ],
)
def test_an_edit_of_the_installation_is_refused(
    before: DeployedVps, declared: DeployedVps, said: str
) -> None:
    """C6.3: no disk is made, forgotten or lost by a typo."""
    [text] = violations("acme/web", before, declared)
    assert said in text
    assert "reinstall-vps.yml" in text


def test_what_was_deployed_before_there_were_reinstalls_is_the_first_system() -> None:
    old = {key: it for key, it in BEFORE.outputs().items() if key not in {"installation", "former"}}
    assert DeployedVps.from_outputs(old) == BEFORE
