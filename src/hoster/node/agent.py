"""The acts of the node agent. Each is idempotent, and holds the state's lock while it works."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from hoster.billing import cycles
from hoster.node import quota
from hoster.node.errors import KernelError, UnknownVpsError
from hoster.node.kernel import guarantee, netlink, vps_elements
from hoster.node.kernel.netlink import Counter, Quota
from hoster.node.store import Known, Measure
from hoster.wire.errors import NodeError
from hoster.wire.events import (
    QUOTA_LEVELS,
    EventKind,
    QuotaDetails,
    measure_lifted,
    quota_reached,
)
from hoster.wire.measures import CUT, THROTTLE
from hoster.wire.metadata import vps_of_domain
from hoster.wire.names import tap_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from ipaddress import IPv4Address

    from hoster.node.kernel.guarantee import Shaping
    from hoster.node.kernel.vps_elements import Elements, Place
    from hoster.node.store import Store
    from hoster.wire.vps import Vps

GRACE = timedelta(seconds=60)
"""A VPS whose hook ran this lately may not have its tap yet."""
SAID_EVERY = timedelta(minutes=10)
"""Refused packets of a tap are told in one event for so long."""
LOAD_SECONDS = 30
_NEVER_SAID = 0, datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Config:
    """Where the roles put what the agent loads; *interfaces* is the kernel's list of links."""

    folder: Path = Path("/etc/hoster")
    interfaces: Path = Path("/sys/class/net")

    @property
    def rules(self) -> list[Path]:
        """The rulesets of the roles `packet_filter` and `bandwidth`, in the order to load."""
        return [self.folder / "packet-filter.nft", self.folder / "bandwidth.nft"]

    def shaping(self) -> Shaping:
        """The uplink as the role `bandwidth` describes it."""
        return guarantee.Shaping.read(self.folder / "bandwidth.json")


@dataclass(frozen=True)
class Outcome:
    """What an act did: whether it changed anything, and about whom."""

    changed: bool
    subject: str
    text: str


class Agent:
    """The acts, on one node's *store* and the kernel of the network namespace it runs in."""

    def __init__(
        self,
        store: Store,
        config: Config,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._config = config
        self._clock = clock

    # -- from libvirt's hook

    def start(self, xml: str) -> Outcome:
        """Let the VPS of a domain that is about to start onto the network, as its plan says.

        Raises:
            InvalidMetadataError: it is no valid VPS; it gets nothing, and must not start.
            KernelError: the kernel refused; it gets nothing.
        """
        vps = vps_of_domain(xml)
        if vps is None:
            return Outcome(changed=False, subject="", text="no VPS: it gets no network here")
        with self._store.hold():
            before = self._store.get(vps.tap)
            known = self._started(vps)
            is_new = before is None or before.vps.full_name != vps.full_name
            blocked = before.enforced.measures.blocked if before else ()
            changed = self._enforce(known, also_blocked=blocked, anew=is_new)
            changed |= before is None or not _alike(before, known)
            self._store.put(known)
        return Outcome(changed, vps.full_name, f"{vps.ipv4} is on {vps.tap}")

    def stop(self, xml: str) -> Outcome:
        """Take the VPS of a domain that has stopped off the network; its volume is kept."""
        vps = vps_of_domain(xml)
        if vps is None:
            return Outcome(changed=False, subject="", text="no VPS")
        with self._store.hold():
            known = self._store.get(vps.tap)
            if known is None or known.vps.full_name != vps.full_name:
                return Outcome(changed=False, subject=vps.full_name, text="never started here")
            known = replace(known, running=False, used_bytes=self._used(known))
            changed = self._enforce(known)
            changed |= self._store.get(vps.tap) != known
            self._store.put(known)
        return Outcome(changed, vps.full_name, f"{vps.tap} passes nothing")

    def _started(self, vps: Vps) -> Known:
        """Return the VPS as it is from now on; a new client of an address starts with nothing."""
        now, known = self._clock(), self._store.get(vps.tap)
        cycle = cycles.cycle_start(vps.anchor, vps.timezone, now)
        if known is None or known.vps.full_name != vps.full_name:
            minor = known.class_minor if known else self._store.free_class()
            self._store.append(
                now, EventKind.VPS_NEW, vps.full_name, ipv4=str(vps.ipv4), plan=vps.plan
            )
            return Known(vps, minor, True, now, cycle, 0, 0)
        if vps.plan != known.vps.plan:
            plans = {"before": known.vps.plan, "plan": vps.plan}
            self._store.append(now, EventKind.PLAN_CHANGED, vps.full_name, **plans)
        known = replace(known, vps=vps, running=True, started_at=now)
        return replace(known, used_bytes=self._used(known))

    def forget(self, named: str, ipv4: IPv4Address | None = None) -> Outcome:
        """Forget a VPS that ended; with *ipv4*, only where it has that address (C12.5, C15.2).

        Its measures, its volume, what was refused of it, its elements and its class go, so that
        whoever has its address later starts with nothing. Its events stay. One that is not known
        is no error: it was forgotten before.

        Raises:
            NodeError: it runs.
        """
        with self._store.hold():
            known = self._ended(named, ipv4)
            if known is None:
                return Outcome(changed=False, subject=named, text="not known here")
            vps = known.vps
            if known.running or self._has_tap(vps.tap):
                raise NodeError(f"{vps.full_name} runs on {vps.tap}: end its domain first")
            details = {"ipv4": str(vps.ipv4), "plan": vps.plan, "bytes": self._used(known)}
            self._enforce(known)
            self._drop_counts(known)
            self._store.forget(vps.tap)
            self._store.append(self._clock(), EventKind.VPS_FORGOTTEN, vps.full_name, **details)
        return Outcome(changed=True, subject=vps.full_name, text=f"{vps.ipv4} is nobody's here")

    def _ended(self, named: str, ipv4: IPv4Address | None) -> Known | None:
        """Return the VPS to forget; with *ipv4*, the one that is called so and has that address."""
        if ipv4 is not None:
            known = self._store.get(tap_name(ipv4))
            return known if known is not None and known.vps.full_name == named else None
        try:
            return self._store.find(named)
        except UnknownVpsError:
            return None

    def _drop_counts(self, known: Known) -> None:
        """Take away what the rules themselves noted of a VPS: refusals, and its buckets."""
        changes = netlink.Transaction()
        for name, key in vps_elements.noted(known.vps, known.class_minor):
            element = netlink.element_with_key(*vps_elements.FILTER, name, key)
            if element is not None:
                changes.delete(*vps_elements.FILTER, [element])
        changes.commit()

    # -- measures (C4.11)

    def measure(self, named: str, kind: str, reason: str, detail: str = "") -> Outcome:
        """Put a measure in force against a VPS, at once and until it is lifted.

        Raises:
            UnknownVpsError: there never was such a VPS on this node.
        """
        with self._store.hold():
            known = self._store.find(named)
            if any((one.kind, one.detail) == (kind, detail) for one in known.measures):
                return Outcome(
                    changed=False,
                    subject=known.vps.full_name,
                    text=f"{_said(kind, detail)} already",
                )
            now = self._clock()
            measures = (*known.measures, Measure(kind, detail, reason, now))
            self._change_measures(known, measures)
            self._store.append(now, kind, known.vps.full_name, detail=detail, reason=reason)
        return Outcome(
            changed=True, subject=known.vps.full_name, text=f"{_said(kind, detail)} from now on"
        )

    def lift(self, named: str, kind: str, detail: str = "") -> Outcome:
        """Lift a measure.

        Raises:
            UnknownVpsError: there never was such a VPS on this node.
        """
        with self._store.hold():
            known = self._store.find(named)
            kept = tuple(one for one in known.measures if (one.kind, one.detail) != (kind, detail))
            if kept == known.measures:
                return Outcome(
                    changed=False, subject=known.vps.full_name, text=f"not {_said(kind, detail)}"
                )
            if kind == CUT:
                self._pass_over_refusals(known.vps.tap)
            self._change_measures(known, kept)
            self._store.append(
                self._clock(), measure_lifted(kind), known.vps.full_name, detail=detail
            )
        return Outcome(
            changed=True, subject=known.vps.full_name, text=f"no longer {_said(kind, detail)}"
        )

    def _change_measures(self, known: Known, measures: tuple[Measure, ...]) -> None:
        changed = replace(known, measures=measures, used_bytes=self._used(known))
        before = known.enforced.measures.blocked
        self._enforce(changed, also_blocked=before)
        self._store.put(replace(changed, used_bytes=self._used(changed)))

    # -- what the kernel has

    def _enforce(
        self,
        known: Known,
        *,
        also_blocked: Iterable[tuple[str, int]] = (),
        anew: bool = False,
    ) -> bool:
        """Give one VPS the elements that its state asks for; return whether any was not there.

        Its count begins *anew* where the address has another client than before; and where somebody
        reset the kernel's, it goes on from what is known.
        """
        enforced = known.enforced
        desired = vps_elements.elements_of(enforced) if known.running else {}
        blocked = {*also_blocked, *enforced.measures.blocked}
        places = {*vps_elements.places_of(known.vps, blocked), *desired}
        current = {
            place: element
            for place in places
            if (element := netlink.element_with_key(*place[0], *place[1:])) is not None
        }
        metered = vps_elements.metered(known.vps)
        kernel = _count(current.get(metered))
        behind = kernel is not None and kernel < known.used_bytes
        changes = vps_elements.transaction(current, [desired], {metered} if anew or behind else ())
        if known.running:
            # Before the way is open, so that there is no moment without a guarantee.
            guarantee.enforce(self._config.shaping(), [enforced])
        changes.commit()
        if not known.running:
            guarantee.release(self._config.shaping(), [known.class_minor])
        return bool(changes)

    def _used(self, known: Known) -> int:
        """Return the cycle's volume of a VPS: what the kernel counts, or what is kept."""
        table, name, key = vps_elements.metered(known.vps)
        element = netlink.element_with_key(*table, name, key)
        if element is None or not isinstance(element.statement, Quota):
            return known.used_bytes
        return quota.counted(known.used_bytes, element.statement.used_bytes)

    def known(self) -> list[Known]:
        """Return every VPS that was on this node, its volume as the kernel counts it now."""
        return [replace(one, used_bytes=self._used(one)) for one in self._store.all()]

    def restore(self) -> Outcome:
        """Load the rules, and let the VPSs that ran onto the network again; nobody else.

        Before the first guest starts, and after the rules were taken away. Rules first, names
        last: at no moment does a packet pass that no rule has seen.

        Raises:
            KernelError: the kernel refused a ruleset; nothing passes then.
        """
        with self._store.hold():
            changes, running = self._restored()
        return Outcome(bool(changes), "", f"{len(running)} VPSs are on the network")

    def _restored(self) -> tuple[netlink.Transaction, list[Known]]:
        self._load()
        running = [known for known in self._store.all() if known.running]
        guarantee.enforce(self._config.shaping(), [known.enforced for known in running])
        changes = vps_elements.transaction(_current(), _desired(running))
        changes.commit()
        return changes, running

    def _load(self) -> None:
        for path in self._config.rules:
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
            if path == self._config.rules[0]:
                # The uplink's classes, before a rule names their device.
                guarantee.prepare(self._config.shaping())

    # -- every few seconds

    def reconcile(self, domains: Mapping[str, Vps] | None) -> Outcome:
        """Count, keep, tell, and repair what differs between libvirt, the state and the kernel.

        *domains* are the VPSs of the domains that run, by tap, asked before the lock was taken
        (libvirt waits for the hook, and the hook for the lock); None where libvirt is not there.
        """
        with self._store.hold():
            restored, there = self._sound()
            known = {one.vps.tap: one for one in self._store.all()}
            current = _current()
            turned = self._turned(known, domains, current)
            recount = self._recounted(turned, current)
            running = [one for one in turned.values() if one.running]
            changes = vps_elements.transaction(current, _desired(running), recount)
            # As in `_enforce`: nobody is let in before its guarantee is there.
            shaped, idle = self._reshape(running, there)
            changes.commit()
            guarantee.release(self._config.shaping(), idle)
            for tap, one in turned.items():
                if one != known.get(tap):
                    self._store.put(one)
            self._tell_refusals(turned)
            self._store.prune()
        repaired = restored or shaped or bool(idle or _repairs(changes, recount))
        text = f"{len(running)} VPSs on the network, {len(changes.added)} elements written"
        return Outcome(repaired, "", text)

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
        self._restored()
        self._store.append(self._clock(), EventKind.RULES_RESTORED, "", reason=reason)
        return True, guarantee.classes(config)

    def _turned(
        self, known: dict[str, Known], domains: Mapping[str, Vps] | None, current: Elements
    ) -> dict[str, Known]:
        """Return every VPS as it is now: running or not, its plan, its volume."""
        now = self._clock()
        turned = {tap: replace(one, used_bytes=_used(one, current)) for tap, one in known.items()}
        for tap, vps in (domains or {}).items():
            before = turned.get(tap)
            if (before is None or not before.running) and not self._has_tap(tap):
                continue  # it stopped since libvirt was asked
            if before is None or not before.running or before.vps != vps:
                turned[tap] = self._started(vps)
                self._store.put(turned[tap])  # so that the next new one gets another class
                if before is None or not before.running:
                    self._store.append(now, EventKind.VPS_REPAIRED, vps.full_name)
        if domains is not None:
            for tap, one in turned.items():
                if one.running and tap not in domains and self._is_gone(one, now):
                    turned[tap] = replace(one, running=False)
        return turned

    def _is_gone(self, known: Known, now: datetime) -> bool:
        fresh = timedelta(0) <= now - known.started_at < GRACE
        return not fresh and not self._has_tap(known.vps.tap)

    def _has_tap(self, tap: str) -> bool:
        return (self._config.interfaces / tap).exists()

    def _recounted(self, turned: dict[str, Known], current: Elements) -> set[Place]:
        """Tell what was reached, turn the cycles, and return whose count starts anew."""
        recount: set[Place] = set()
        for tap, one in turned.items():
            place = vps_elements.metered(one.vps)
            kernel = _count(current.get(place))
            turned[tap] = self._told(self._next_cycle(one))
            if kernel is not None and kernel != turned[tap].used_bytes:
                recount.add(place)
        return recount

    def _next_cycle(self, one: Known) -> Known:
        now, vps = self._clock(), one.vps
        began = cycles.cycle_start(vps.anchor, vps.timezone, now)
        if began <= one.cycle_start:  # a clock that was set back begins no cycle again
            return one
        details = {"bytes": one.used_bytes, "from": one.cycle_start.isoformat()}
        self._store.append(
            now, EventKind.CYCLE_ENDED, vps.full_name, **details, to=began.isoformat()
        )
        if one.told_percent == max(QUOTA_LEVELS):
            self._store.append(now, EventKind.THROTTLE_LIFTED, vps.full_name, **_quota(one))
        return replace(one, cycle_start=began, used_bytes=0, told_percent=0)

    def _told(self, one: Known) -> Known:
        reached = quota.level_reached(one.used_bytes, one.vps.traffic_bytes)
        for level in QUOTA_LEVELS:
            if one.told_percent < level <= reached:
                self._store.append(
                    self._clock(), quota_reached(level), one.vps.full_name, **_quota(one)
                )
        if reached < one.told_percent == max(QUOTA_LEVELS):  # a larger plan
            self._store.append(
                self._clock(), EventKind.THROTTLE_LIFTED, one.vps.full_name, **_quota(one)
            )
        return replace(one, told_percent=reached)

    def _reshape(self, running: list[Known], there: guarantee.Classes) -> tuple[bool, set[int]]:
        """Put classes right; return whether any was wrong, and those that nobody has."""
        config = self._config.shaping()
        wanted = {one.class_minor: guarantee.rates(config, one.enforced) for one in running}
        wrong = [
            one.enforced
            for one in running
            if any(
                there[device].get(one.class_minor) != wanted[one.class_minor] for device in there
            )
        ]
        guarantee.enforce(config, wrong)
        idle = {minor for device in there.values() for minor in device if minor not in wanted}
        return bool(wrong), idle

    def _pass_over_refusals(self, tap: str) -> None:
        refused = netlink.element_with_key(*vps_elements.FILTER, "refused", netlink.interface(tap))
        if refused is not None and isinstance(refused.statement, Counter):
            _, at = self._store.refusals().get(tap, _NEVER_SAID)
            self._store.keep_refusal(tap, refused.statement.packets, at)

    def _tell_refusals(self, known: dict[str, Known]) -> None:
        """Tell how many packets were refused with a wrong sender, in few events (C7.2)."""
        now, said = self._clock(), self._store.refusals()
        for element in netlink.elements_in(*vps_elements.FILTER, "refused"):
            if not isinstance(element.statement, Counter):
                continue
            tap = element.key.rstrip(b"\0").decode(errors="replace")
            before, at = said.get(tap, _NEVER_SAID)
            packets = element.statement.packets
            fresh = packets - before if packets >= before else packets
            if not fresh or timedelta(0) <= now - at < SAID_EVERY:
                continue
            one = known.get(tap)
            if one and one.enforced.measures.quarantined:
                self._store.keep_refusal(tap, packets, at)  # refused for another reason
                continue
            kind = EventKind.SPOOF_REFUSED if one and one.running else EventKind.UNKNOWN_TAP
            subject = one.vps.full_name if one else tap
            self._store.append(now, kind, subject, tap=tap, packets=fresh)
            self._store.keep_refusal(tap, packets, now)


def _quota(one: Known) -> QuotaDetails:
    """Return what the client is told of its quota, and of which cycle."""
    vps = one.vps
    return QuotaDetails(
        ipv4=str(vps.ipv4),
        timezone=vps.timezone,
        bytes=one.used_bytes,
        quota_bytes=vps.traffic_bytes,
        throttle_mbit_s=vps.throttle_mbit_s,
        cycle_start=one.cycle_start.isoformat(),
        cycle_end=cycles.cycle_end(vps.anchor, vps.timezone, one.cycle_start).isoformat(),
    )


def _current() -> Elements:
    return {
        (table, name, element.key): element
        for table, names in vps_elements.SETS.items()
        for name in names
        for element in netlink.elements_in(*table, name)
    }


def _desired(running: Iterable[Known]) -> Iterator[Elements]:
    return (vps_elements.elements_of(known.enforced) for known in running)


def _count(element: netlink.Element | None) -> int | None:
    if element is None or not isinstance(element.statement, Quota):
        return None
    return element.statement.used_bytes


def _used(known: Known, current: Elements) -> int:
    kernel = _count(current.get(vps_elements.metered(known.vps)))
    return known.used_bytes if kernel is None else quota.counted(known.used_bytes, kernel)


def _repairs(changes: netlink.Transaction, recount: set[Place]) -> list[netlink.Element]:
    anew = {(name, key) for _, name, key in recount}
    return [
        element
        for element in (*changes.added, *changes.deleted)
        if (element.set_name, element.key) not in anew
    ]


def _alike(one: Known, other: Known) -> bool:
    """Whether they differ in nothing but what was counted, and when it was started."""
    return replace(one, used_bytes=other.used_bytes, started_at=other.started_at) == other


def _said(kind: str, detail: str) -> str:
    return {CUT: "quarantined", THROTTLE: "throttled"}.get(kind, f"closed for {detail}")
