"""What is final about a deployed VPS, change by change."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hoster.stack.deployed import DeployedVps, violations

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
