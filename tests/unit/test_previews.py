"""What a preview says, judged: nothing is lost unless its end is on record (C6.3, C15.2)."""

from __future__ import annotations

from typing import Any

import pytest

from hoster.changes.previews import KEPT, Preview, Step, judge, read

VPS = "urn:pulumi:acme::hoster::hoster:vps:VirtualServer::web-disk"
PREFIX = "urn:pulumi:acme::hoster::hoster:vps:VirtualServer$"
DISK = "libvirt:index/volume:Volume"
SEED = "libvirt:index/cloudInitDisk:CloudInitDisk"


def document(op: str, kind: str = DISK, **more: Any) -> dict[str, Any]:
    """A preview of a VPS that is called as if it were another one's disk."""
    child = {"type": kind, "parent": VPS}
    return {
        "steps": [
            {"op": "same", "urn": VPS, "newState": {"type": "hoster:vps:VirtualServer"}},
            {"op": op, "urn": f"{PREFIX}{kind}::web-disk-disk", "oldState": child},
        ],
        **more,
    }


def test_a_step_belongs_to_the_vps_that_its_state_names() -> None:
    seen = read("acme", document("update"))

    assert {"acme/web-disk": ["update web-disk-disk"]} == seen.changes
    assert [] == judge(seen, ())


@pytest.mark.parametrize("op", ["delete", "replace", "create-replacement", "delete-replaced"])
@pytest.mark.parametrize("kind", sorted(KEPT))
def test_what_would_be_lost_is_named_unless_its_end_is_on_record(op: str, kind: str) -> None:
    seen = Preview("acme", (Step(op, kind, "web-disk", "acme/web"),))

    [said] = judge(seen, {"acme/db"})
    for part in ("acme/web", KEPT[kind], "web-disk", op, "terminate-vps.yml -e vps=acme/web"):
        assert part in said
    assert [] == judge(seen, {"acme/web"})


@pytest.mark.parametrize("op", ["same", "update", "create", "read", "refresh"])
def test_what_loses_nothing_goes_ahead(op: str) -> None:
    assert [] == judge(read("acme", document(op)), ())


def test_a_seed_can_be_made_again() -> None:
    assert [] == judge(read("acme", document("delete", SEED)), ())


def test_notes_go_to_their_vps_and_errors_are_said_once() -> None:
    told = [
        {"urn": VPS, "message": "memory 1 -> 2 GiB: live\n", "severity": "info"},
        {"message": "error: preview failed\n", "severity": "error"},
        {"message": "Traceback:\n  x\nhoster.errors.RuleError: a: b\nc", "severity": "error"},
    ]

    seen = read("acme", document("update", diagnostics=told))

    assert (("acme/web-disk", "memory 1 -> 2 GiB: live"),) == seen.notes
    assert ["acme: a: b\nc"] == judge(seen, ())


def test_a_protected_disk_is_said_in_our_words_alone() -> None:
    told = [{"message": "error: cannot be deleted\nbecause it is protected", "severity": "error"}]

    [said] = judge(read("acme", document("delete", diagnostics=told)), ())

    assert "would be lost" in said
