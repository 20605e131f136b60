"""What the node says of its VPSs, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hoster.billing import cycles

if TYPE_CHECKING:
    from datetime import datetime

    from hoster.node.store import Known


def as_json(known: Known, now: datetime) -> dict[str, Any]:
    """Return one VPS with what is in force; bytes, Mbit/s and ISO 8601."""
    vps = known.vps
    limit = vps.traffic_bytes
    return {
        "vps": vps.full_name,
        "ipv4": str(vps.ipv4),
        "tap": vps.tap,
        "plan": vps.plan,
        "running": known.running,
        "guaranteed_mbit_s": vps.guaranteed_mbit_s,
        "ceiling_mbit_s": vps.ceiling_mbit_s,
        "used_bytes": known.used_bytes,
        "quota_bytes": limit,
        "over_quota": limit is not None and known.used_bytes >= limit,
        "throttle_mbit_s": vps.throttle_mbit_s,
        "cycle_start": known.cycle_start.isoformat(),
        "cycle_end": cycles.cycle_end(vps.anchor, vps.timezone, now).isoformat(),
        "measures": [
            {
                "kind": measure.kind,
                "detail": measure.detail,
                "reason": measure.reason,
                "since": measure.since.isoformat(),
            }
            for measure in known.measures
        ],
    }


def as_line(known: Known, now: datetime) -> str:
    """Return one VPS in a line for people."""
    said = as_json(known, now)
    quota = "unlimited" if said["quota_bytes"] is None else f"{said['quota_bytes'] / 1e9:.1f} GB"
    state = ["running" if known.running else "stopped"]
    state += [f"{one['kind']} {one['detail']}".strip() for one in said["measures"]]
    state += ["over quota"] if said["over_quota"] else []
    used = f"{said['used_bytes'] / 1e9:.3f} of {quota}"
    return f"{said['vps']:<30} {said['ipv4']:<15} {said['plan']:<12} {used:<28} {', '.join(state)}"
