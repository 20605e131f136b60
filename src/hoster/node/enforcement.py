"""What a VPS has in the kernel: put there, counted, taken away. Whoever calls holds the lock."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

from hoster.billing import cycles
from hoster.node import quota
from hoster.node.errors import KernelError
from hoster.node.kernel import guarantee, netlink, vps_elements
from hoster.node.kernel.netlink import Quota
from hoster.node.store import Known
from hoster.wire.events import EventKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from hoster.node.agent import Config
    from hoster.node.kernel.vps_elements import Elements
    from hoster.node.store import Store
    from hoster.wire.vps import Vps

LOAD_SECONDS = 30


class Enforcement:
    """One node's *store*, and the kernel of the network namespace that it runs in."""

    def __init__(self, store: Store, config: Config, clock: Callable[[], datetime]) -> None:
        self.store, self.config, self.clock = store, config, clock

    def started(self, vps: Vps) -> Known:
        """Return the VPS as it is from now on; a new client of an address starts with nothing."""
        now, known = self.clock(), self.store.get(vps.tap)
        cycle = cycles.cycle_start(vps.anchor, vps.timezone, now)
        if known is None or known.vps.full_name != vps.full_name:
            minor = known.class_minor if known else self.store.free_class()
            facts = {"ipv4": str(vps.ipv4), "plan": vps.plan}
            self.store.append(now, EventKind.VPS_NEW, vps.full_name, **facts)
            return Known(vps, minor, True, now, cycle, 0, 0)
        if vps.plan != known.vps.plan:
            plans = {"before": known.vps.plan, "plan": vps.plan}
            self.store.append(now, EventKind.PLAN_CHANGED, vps.full_name, **plans)
        known = replace(known, vps=vps, running=True, started_at=now)
        return replace(known, used_bytes=self.used(known))

    def enforce(
        self,
        known: Known,
        *,
        also_blocked: Iterable[tuple[str, int]] = (),
        anew: bool = False,
    ) -> bool:
        """Give one VPS the elements that its state asks for; return whether any was not there.

        Its count begins *anew* where the address has another client than before; and where somebody
        reset the kernel's, it goes on from what is known.

        Raises:
            KernelError: the kernel refused; nothing of it was done.
        """
        enforced = known.enforced
        wanted = vps_elements.elements_of(enforced) if known.running else {}
        blocked = {*also_blocked, *enforced.measures.blocked}
        current = _present({*vps_elements.places_of(known.vps, blocked), *wanted})
        metered = vps_elements.metered(known.vps)
        kernel = count_of(current.get(metered))
        behind = kernel is not None and kernel < known.used_bytes
        changes = vps_elements.transaction(current, [wanted], {metered} if anew or behind else ())
        if known.running:
            # Before the way is open, so that there is no moment without a guarantee.
            guarantee.enforce(self.config.shaping(), [enforced])
        changes.commit()
        if not known.running:
            guarantee.release(self.config.shaping(), [known.class_minor])
        return bool(changes)

    def used(self, known: Known) -> int:
        """Return the cycle's volume of a VPS: what the kernel counts, or what is kept."""
        table, name, key = vps_elements.metered(known.vps)
        return used_of(known, netlink.element_with_key(*table, name, key))

    def drop_counts(self, known: Known) -> None:
        """Take away what the rules themselves noted of a VPS: refusals, and its buckets."""
        changes = netlink.Transaction()
        for name, key in vps_elements.noted(known.vps, known.class_minor):
            element = netlink.element_with_key(*vps_elements.FILTER, name, key)
            if element is not None:
                changes.delete(*vps_elements.FILTER, [element])
        changes.commit()

    def has_tap(self, tap: str) -> bool:
        """Whether the kernel has a link of that name."""
        return (self.config.interfaces / tap).exists()

    def restore(self) -> tuple[netlink.Transaction, list[Known]]:
        """Load the rules, then the names of the VPSs that ran; return both.

        Raises:
            KernelError: the kernel refused a ruleset; nothing passes then.
        """
        self._load()
        running = [known for known in self.store.all() if known.running]
        guarantee.enforce(self.config.shaping(), [known.enforced for known in running])
        changes = vps_elements.transaction(everything(), desired(running))
        changes.commit()
        return changes, running

    def _load(self) -> None:
        for path in self.config.rules:
            try:
                done = subprocess.run(
                    ["nft", "--file", str(path)],
                    capture_output=True,
                    text=True,
                    timeout=LOAD_SECONDS,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise KernelError(f"nft --file {path}: {error}") from error
            if done.returncode != 0:
                raise KernelError(f"nft --file {path}: {done.stderr.strip()}")
            if path == self.config.rules[0]:
                # The uplink's classes, before a rule names their device.
                guarantee.prepare(self.config.shaping())


def everything() -> Elements:
    """Return what the kernel has in the agent's sets, of all VPSs."""
    return {
        (table, name, element.key): element
        for table, names in vps_elements.SETS.items()
        for name in names
        for element in netlink.elements_in(*table, name)
    }


def desired(running: Iterable[Known]) -> Iterator[Elements]:
    """Return what these VPSs' state asks for."""
    return (vps_elements.elements_of(known.enforced) for known in running)


def count_of(element: netlink.Element | None) -> int | None:
    """Return the bytes that an element has counted, or None where there is none that counts."""
    if element is None or not isinstance(element.statement, Quota):
        return None
    return element.statement.used_bytes


def used_of(known: Known, metered: netlink.Element | None) -> int:
    """Return the cycle's volume of a VPS whose bytes that element counts."""
    kernel = count_of(metered)
    return known.used_bytes if kernel is None else quota.counted(known.used_bytes, kernel)


def _present(places: Iterable[vps_elements.Place]) -> Elements:
    found = {place: netlink.element_with_key(*place[0], *place[1:]) for place in places}
    return {place: element for place, element in found.items() if element is not None}
