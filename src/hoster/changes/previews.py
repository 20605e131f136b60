"""What `pulumi preview` says that an update would do to a client's VPSs, read and judged.

No update may delete or replace a disk or a domain unless the end of its VPS is on record (C6.3,
C10.1, C15.2); a change of its address is refused by the program itself, before the first resource.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hoster.changes.deployed import COMPONENT

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

KEPT = {
    "libvirt:index/volume:Volume": "disk",
    "libvirt:index/domain:Domain": "domain",
    COMPONENT: "VPS",
}
"""Types of resources that hold what cannot be made again, and what people call them."""
_READ_ONLY = {"same", "read", "refresh"}
_RAISED = re.compile(r"(?s)^.*\nhoster\.errors\.\w+: ")


@dataclass(frozen=True)
class Step:
    """One operation on one resource; ``vps`` is empty for what belongs to none (the stack)."""

    op: str
    kind: str
    name: str
    vps: str

    @property
    def loses(self) -> bool:
        """Whether what the resource holds is gone afterwards."""
        gone = "delete" in self.op or "replace" in self.op or "discard" in self.op
        return gone and self.kind in KEPT


@dataclass(frozen=True)
class Preview:
    """What would happen to a client's stack.

    ``notes`` are what the provider tells beforehand, as (VPS, text): live, or with a reboot.
    ``errors`` are why it would not happen at all.
    """

    client: str
    steps: tuple[Step, ...] = ()
    notes: tuple[tuple[str, str], ...] = ()
    errors: tuple[str, ...] = field(default=())

    @property
    def changes(self) -> dict[str, list[str]]:
        """The operations on each VPS that change anything, as ``update web-disk``."""
        found: dict[str, list[str]] = {}
        for step in self.steps:
            if step.op not in _READ_ONLY and step.vps:
                found.setdefault(step.vps, []).append(f"{step.op} {step.name}")
        return found


def read(client: str, document: Mapping[str, Any]) -> Preview:
    """Read the JSON that `pulumi preview --json` prints."""
    states = {
        step["urn"]: step.get("newState") or step.get("oldState") or {}
        for step in document.get("steps", ())
    }
    steps, vps_of = [], {}
    for step in document.get("steps", ()):
        urn = step["urn"]
        kind, name = states[urn].get("type", ""), urn.rpartition("::")[2]
        owner = urn if kind == COMPONENT else states[urn].get("parent", "")
        vps_of[urn] = f"{client}/{owner.rpartition('::')[2]}" if f"{COMPONENT}::" in owner else ""
        steps.append(Step(step["op"], kind, name, vps_of[urn]))
    told = [
        (one.get("severity", ""), vps_of.get(one.get("urn"), ""), one.get("message", "").strip())
        for one in document.get("diagnostics") or ()
    ]
    return Preview(
        client,
        tuple(steps),
        tuple((vps, text) for severity, vps, text in told if vps and severity != "error"),
        tuple(_reason(text) for severity, _, text in told if severity == "error"),
    )


def _reason(text: str) -> str:
    """Return what an error says to people: of the program's own, not where it was raised."""
    return _RAISED.split(text, maxsplit=1)[-1].removeprefix("error: ")


def judge(preview: Preview, ended: Collection[str]) -> list[str]:
    """Say what must not happen, a text each; *ended* are VPSs whose termination is on record."""
    lost = [
        f"{step.vps}: its {KEPT[step.kind]} {step.name} would be lost ({step.op}), and no "
        "termination of it is on record: put its declaration back, or end it with "
        f"playbooks/terminate-vps.yml -e vps={step.vps}"
        for step in preview.steps
        if step.loses and step.vps not in ended
    ]
    return lost + [
        f"{preview.client}: {text}"
        for text in preview.errors
        if not (lost and "protect" in text) and text != "preview failed"
    ]
