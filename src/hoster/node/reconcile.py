"""What the agent does every few seconds: it counts, keeps, tells, and repairs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from hoster.billing import cycles
from hoster.node import quota, refusals
from hoster.node.enforcement import count_of, desired, everything, used_of
from hoster.node.errors import KernelError
from hoster.node.kernel import guarantee, netlink, vps_elements
from hoster.wire.events import QUOTA_LEVELS, EventKind, QuotaDetails, quota_reached

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hoster.node.enforcement import Enforcement
    from hoster.node.kernel.vps_elements import Elements, Place
    from hoster.node.store import Known
    from hoster.wire.vps import Vps

GRACE = timedelta(seconds=60)
"""A VPS whose hook ran this lately may not have its tap yet."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """Whether anything had to be put right; how many VPSs run, and elements were written."""

    repaired: bool
    running: int
    written: int


class Reconciliation:
    """One run. *domains* are the VPSs of the domains that run, by tap; None: nobody knows."""

    def __init__(self, enforcement: Enforcement, domains: Mapping[str, Vps] | None) -> None:
        self._enforcement, self._domains = enforcement, domains
        self._store, self._config = enforcement.store, enforcement.config
        self._now = enforcement.clock()

    def run(self) -> Reconciled:
        """Do it, inside the lock.

        Raises:
            KernelError: the kernel refused; nothing of it was done.
        """
        restored, there = self._sound()
        before = {known.vps.tap: known for known in self._store.all()}
        current = everything()
        turned = self._turned(before, current)
        recount = self._recounted(turned, current)
        running = [known for known in turned.values() if known.running]
        changes = vps_elements.transaction(current, desired(running), recount)
        # As in `Enforcement.enforce`: nobody is let in before its guarantee is there.
        shaped, idle = self._reshape(running, there)
        changes.commit()
        guarantee.release(self._config.shaping(), idle)
        for tap, known in turned.items():
            if known != before.get(tap):
                self._store.put(known)
        refusals.tell(self._store, turned, self._now)
        self._store.prune()
        repaired = restored or shaped or bool(idle or _repairs(changes, recount))
        return Reconciled(repaired, len(running), len(changes.added))

    def _sound(self) -> tuple[bool, guarantee.Classes]:
        """Return whether the rules had to be loaded again, and the classes that are there then.

        Rules are gone that somebody emptied, classes with an uplink that is another than before.
        """
        config = self._config.shaping()
        try:
            for table, names in vps_elements.SETS.items():
                for name in names:
                    netlink.require_set(*table, name)
            there = guarantee.every_class(config)
            if guarantee.are_prepared(there):
                return False, guarantee.of_vpss(there)
            reason = "the uplink has no classes"
        except KernelError as error:
            reason = str(error)
        self._enforcement.restore()
        self._store.append(self._now, EventKind.RULES_RESTORED, "", reason=reason)
        return True, guarantee.classes(config)

    def _turned(self, before: Mapping[str, Known], current: Elements) -> dict[str, Known]:
        """Return every VPS as it is now: running or not, its plan, its volume."""
        turned = {
            tap: replace(
                known, used_bytes=used_of(known, current.get(vps_elements.metered(known.vps)))
            )
            for tap, known in before.items()
        }
        for tap, vps in (self._domains or {}).items():
            self._let_in(turned, tap, vps)
        if self._domains is not None:
            for tap, known in turned.items():
                if known.running and tap not in self._domains and self._is_gone(known):
                    turned[tap] = replace(known, running=False)
        return turned

    def _let_in(self, turned: dict[str, Known], tap: str, vps: Vps) -> None:
        """Note that a domain runs whose hook did not, or that has other facts than before."""
        known = turned.get(tap)
        missed = known is None or not known.running
        if missed and not self._enforcement.has_tap(tap):
            return  # it stopped since libvirt was asked
        if missed or (known is not None and known.vps != vps):
            turned[tap] = self._enforcement.started(vps)
            self._store.put(turned[tap])  # so that the next new one gets another class
        if missed:
            self._store.append(self._now, EventKind.VPS_REPAIRED, vps.full_name)

    def _is_gone(self, known: Known) -> bool:
        fresh = timedelta(0) <= self._now - known.started_at < GRACE
        return not fresh and not self._enforcement.has_tap(known.vps.tap)

    def _recounted(self, turned: dict[str, Known], current: Elements) -> set[Place]:
        """Tell what was reached, turn the cycles, and return whose count starts anew."""
        recount: set[Place] = set()
        for tap, known in turned.items():
            place = vps_elements.metered(known.vps)
            kernel = count_of(current.get(place))
            turned[tap] = self._told(self._next_cycle(known))
            if kernel is not None and kernel != turned[tap].used_bytes:
                recount.add(place)
        return recount

    def _next_cycle(self, known: Known) -> Known:
        vps = known.vps
        began = cycles.cycle_start(vps.anchor, vps.timezone, self._now)
        if began <= known.cycle_start:  # a clock that was set back begins no cycle again
            return known
        ended = {"from": known.cycle_start.isoformat(), "to": began.isoformat()}
        self._store.append(
            self._now, EventKind.CYCLE_ENDED, vps.full_name, bytes=known.used_bytes, **ended
        )
        if known.told_percent == max(QUOTA_LEVELS):
            self._tell_quota(EventKind.QUOTA_THROTTLE_LIFTED, known)
        return replace(known, cycle_start=began, used_bytes=0, told_percent=0)

    def _told(self, known: Known) -> Known:
        reached = quota.level_reached(known.used_bytes, known.vps.traffic_bytes)
        for level in QUOTA_LEVELS:
            if known.told_percent < level <= reached:
                self._tell_quota(quota_reached(level), known)
        if reached < known.told_percent == max(QUOTA_LEVELS):  # a larger plan
            self._tell_quota(EventKind.QUOTA_THROTTLE_LIFTED, known)
        return replace(known, told_percent=reached)

    def _tell_quota(self, kind: str, known: Known) -> None:
        """Tell what the client is told of its quota, and of which cycle."""
        vps = known.vps
        end = cycles.cycle_end(vps.anchor, vps.timezone, known.cycle_start)
        details = QuotaDetails(
            ipv4=str(vps.ipv4),
            timezone=vps.timezone,
            bytes=known.used_bytes,
            quota_bytes=vps.traffic_bytes,
            throttle_mbit_s=vps.throttle_mbit_s,
            cycle_start=known.cycle_start.isoformat(),
            cycle_end=end.isoformat(),
        )
        self._store.append(self._now, kind, vps.full_name, **details)

    def _reshape(self, running: list[Known], there: guarantee.Classes) -> tuple[bool, set[int]]:
        """Put classes right; return whether any was wrong, and those that nobody has."""
        config = self._config.shaping()
        wanted = {known.class_minor: guarantee.rates(config, known.enforced) for known in running}
        wrong = [
            known.enforced
            for known in running
            if any(
                there[device].get(known.class_minor) != wanted[known.class_minor]
                for device in there
            )
        ]
        guarantee.enforce(config, wrong)
        idle = {minor for device in there.values() for minor in device if minor not in wanted}
        return bool(wrong), idle


def _repairs(changes: netlink.Transaction, recount: set[Place]) -> list[netlink.Element]:
    anew = {(name, key) for _, name, key in recount}
    return [
        element
        for element in (*changes.added, *changes.deleted)
        if (element.set_name, element.key) not in anew
    ]
