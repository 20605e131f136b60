"""What is in force against VPSs, and the incidents behind it (C6, C7, C15)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hoster.incidents.measures import Incident, Measure
    from hoster.ledger import Ledger


@dataclass(frozen=True)
class Reasoned:
    """A measure, and the incident behind it, if there is one."""

    measure: Measure
    incident: Incident | None

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        one, incident = self.measure, self.incident
        return {
            "vps": one.vps,
            "measure": one.kind,
            "id": one.id,
            "ground": one.ground,
            "incident": one.incident,
            "severity": incident.severity if incident else None,
            "evidence": incident.evidence if incident else one.note,
            "reinstall": incident.reinstall if incident else False,
            "stage": one.stage,
            "since": one.wanted_at.isoformat(timespec="seconds"),
            "author": one.author,
            "lifted": one.lifted_at.isoformat(timespec="seconds") if one.lifted_at else None,
            "lift_author": one.lift_author,
            "lift_note": one.lift_note,
        }


def listed(ledger: Ledger, vps: str | None = None, *, everything: bool = False) -> list[Reasoned]:
    """Return the measures in force against *vps*, or all; *everything* has those lifted, too."""
    measures = ledger.measures.all(vps, in_force=not everything)
    known = {one.id: one for one in ledger.incidents.all(vps)}
    return [Reasoned(one, known.get(one.incident or 0)) for one in measures]
