"""What an act tells a node to do about measures: `hoster-node measures` reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hoster.wire.errors import InvalidMeasureError

CUT = "quarantine"
"""No traffic, either way. The wire's word for what both a quarantine and a suspension do: nodes in
service, their states and their events know it by this name."""
THROTTLE = "throttle"
"""The plan's throttle rate, whatever the volume."""
BLOCK_PORT = "block-port"
"""Nothing to one port, which is the measure's name: 25/tcp."""
KINDS = (CUT, THROTTLE, BLOCK_PORT)
_TOLD = {CUT, THROTTLE}
"""Kinds that the control machine may tell; a port is closed by hand, on its node."""


@dataclass(frozen=True, slots=True)
class MeasureJob:
    """A measure that a node is to put in force, or to lift.

    ``name`` tells it from others of its ``kind`` against the same VPS; ``measure`` is its number in
    the ledger, which the playbook confirms it by, and which no node reads.
    """

    vps: str
    kind: str
    name: str = ""
    lift: bool = False
    reason: str = ""
    measure: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as `of_json` reads it."""
        number = {} if self.measure is None else {"measure": self.measure}
        return {
            "vps": self.vps,
            **number,
            "kind": self.kind,
            "as": self.name,
            "lift": self.lift,
            "reason": self.reason,
        }

    @classmethod
    def of_json(cls, said: object) -> MeasureJob:
        """Read what `as_json` made, or somebody by hand: only ``vps`` and ``kind`` must be there.

        Raises:
            InvalidMeasureError: it is no measure that a node may be told.
        """
        if not isinstance(said, dict):
            raise InvalidMeasureError(f"{said!r} is no measure")
        number = said.get("measure")
        job = cls(
            vps=_a(str, said, "vps"),
            kind=_a(str, said, "kind"),
            name=_a(str, said, "as", ""),
            lift=_a(bool, said, "lift", False),
            reason=_a(str, said, "reason", ""),
            measure=number if isinstance(number, int) else None,
        )
        if job.kind not in _TOLD:
            raise InvalidMeasureError(f"kind: {job.kind!r} is none of {sorted(_TOLD)}")
        return job


def _a(type_: type[Any], said: dict[str, Any], name: str, default: object = None) -> Any:
    value = said.get(name, default)
    if not isinstance(value, type_):
        raise InvalidMeasureError(f"{name}: {value!r} is no {type_.__name__}")
    return value


def jobs_of_json(said: object) -> list[MeasureJob]:
    """Read a list of measures.

    Raises:
        InvalidMeasureError: it is none.
    """
    if not isinstance(said, list):
        raise InvalidMeasureError("no list")
    return [MeasureJob.of_json(one) for one in said]
