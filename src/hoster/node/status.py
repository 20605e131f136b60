"""What the node says of its VPSs, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoster.billing import cycles
from hoster.wire.status import MeasureStatus, VpsStatus

if TYPE_CHECKING:
    from datetime import datetime

    from hoster.node.store import Known


def of(known: Known, now: datetime) -> VpsStatus:
    """Return one VPS with what is in force."""
    vps = known.vps
    limit = vps.traffic_bytes
    return VpsStatus(
        vps=vps.full_name,
        ipv4=str(vps.ipv4),
        tap=vps.tap,
        plan=vps.plan,
        running=known.running,
        guaranteed_mbit_s=vps.guaranteed_mbit_s,
        ceiling_mbit_s=vps.ceiling_mbit_s,
        used_bytes=known.used_bytes,
        quota_bytes=limit,
        over_quota=limit is not None and known.used_bytes >= limit,
        throttle_mbit_s=vps.throttle_mbit_s,
        cycle_start=known.cycle_start.isoformat(),
        cycle_end=cycles.cycle_end(vps.anchor, vps.timezone, now).isoformat(),
        measures=[
            MeasureStatus(
                kind=measure.kind,
                detail=measure.detail,
                reason=measure.reason,
                since=measure.since.isoformat(),
            )
            for measure in known.measures
        ],
    )


def as_line(known: Known, now: datetime) -> str:
    """Return one VPS in a line for people."""
    said = of(known, now)
    quota = "unlimited" if said["quota_bytes"] is None else f"{said['quota_bytes'] / 1e9:.1f} GB"
    state = ["running" if known.running else "stopped"]
    state += [f"{measure['kind']} {measure['detail']}".strip() for measure in said["measures"]]
    state += ["over quota"] if said["over_quota"] else []
    used = f"{said['used_bytes'] / 1e9:.3f} of {quota}"
    return f"{said['vps']:<30} {said['ipv4']:<15} {said['plan']:<12} {used:<28} {', '.join(state)}"
