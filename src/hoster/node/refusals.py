"""Packets that were refused because their sender is not who it says: told in few events (C7.2)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hoster.node.kernel import netlink, vps_elements
from hoster.node.kernel.netlink import Counter
from hoster.wire.events import EventKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hoster.node.store import Known, Store

SAID_EVERY = timedelta(minutes=10)
"""Refused packets of a tap are told in one event for so long."""
_SET = "refused"
_NEVER_SAID = 0, datetime.min.replace(tzinfo=UTC)


def tell(store: Store, vpss: Mapping[str, Known], now: datetime) -> None:
    """Tell of each tap how many packets were refused since it was told last.

    *vpss* are those that are known, by tap. What is refused of a VPS in quarantine is refused for
    another reason, and is not told.
    """
    said = store.refusals()
    for element in netlink.elements_in(*vps_elements.FILTER, _SET):
        if not isinstance(element.statement, Counter):
            continue
        tap = element.key.rstrip(b"\0").decode(errors="replace")
        before, at = said.get(tap, _NEVER_SAID)
        packets = element.statement.packets
        fresh = packets - before if packets >= before else packets
        if not fresh or timedelta(0) <= now - at < SAID_EVERY:
            continue
        known = vpss.get(tap)
        if known and known.enforced.measures.quarantined:
            store.keep_refusal(tap, packets, at)
            continue
        _append(store, now, tap, known, fresh)
        store.keep_refusal(tap, packets, now)


def _append(store: Store, now: datetime, tap: str, known: Known | None, packets: int) -> None:
    kind = EventKind.SPOOF_REFUSED if known and known.running else EventKind.UNKNOWN_TAP
    subject = known.vps.full_name if known else tap
    store.append(now, kind, subject, tap=tap, packets=packets)


def pass_over(store: Store, tap: str) -> None:
    """Keep what was refused of *tap* so far as told."""
    refused = netlink.element_with_key(*vps_elements.FILTER, _SET, netlink.interface(tap))
    if refused is not None and isinstance(refused.statement, Counter):
        _, at = store.refusals().get(tap, _NEVER_SAID)
        store.keep_refusal(tap, refused.statement.packets, at)
