"""The acts of the node agent. Each is idempotent, and holds the state's lock while it works."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hoster.node import refusals
from hoster.node.enforcement import Enforcement
from hoster.node.errors import UnknownVpsError
from hoster.node.kernel import guarantee
from hoster.node.store import Known, Measure
from hoster.wire.errors import NodeError
from hoster.wire.events import EventKind, measure_lifted
from hoster.wire.measures import CUT, THROTTLE
from hoster.wire.metadata import vps_of_domain
from hoster.wire.names import tap_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from ipaddress import IPv4Address

    from hoster.node.kernel.guarantee import Shaping
    from hoster.node.store import Store
    from hoster.wire.vps import Vps


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
        self._clock = clock
        self._enforcement = Enforcement(store, config, clock)

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
            known = self._enforcement.started(vps)
            is_new = before is None or before.vps.full_name != vps.full_name
            blocked = before.enforced.measures.blocked if before else ()
            changed = self._enforcement.enforce(known, also_blocked=blocked, anew=is_new)
            changed |= before is None or not _alike(before, known)
            self._store.put(known)
        return Outcome(changed, vps.full_name, f"{vps.ipv4} is on {vps.tap}")

    def stop(self, xml: str) -> Outcome:
        """Take the VPS of a domain that has stopped off the network; its volume is kept.

        Raises:
            InvalidMetadataError: it is no valid VPS.
            KernelError: the kernel refused; nothing of it was done.
        """
        vps = vps_of_domain(xml)
        if vps is None:
            return Outcome(changed=False, subject="", text="no VPS")
        with self._store.hold():
            known = self._store.get(vps.tap)
            if known is None or known.vps.full_name != vps.full_name:
                return Outcome(changed=False, subject=vps.full_name, text="never started here")
            known = replace(known, running=False, used_bytes=self._enforcement.used(known))
            changed = self._enforcement.enforce(known)
            changed |= self._store.get(vps.tap) != known
            self._store.put(known)
        return Outcome(changed, vps.full_name, f"{vps.tap} passes nothing")

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
            if known.running or self._enforcement.has_tap(vps.tap):
                raise NodeError(f"{vps.full_name} runs on {vps.tap}: end its domain first")
            used = self._enforcement.used(known)
            details = {"ipv4": str(vps.ipv4), "plan": vps.plan, "bytes": used}
            self._enforcement.enforce(known)
            self._enforcement.drop_counts(known)
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

    # -- measures (C4.11)

    def measure(self, named: str, kind: str, reason: str, detail: str = "") -> Outcome:
        """Put a measure in force against a VPS, at once and until it is lifted.

        *detail* tells it from others of its kind: its name, or the port that it closes.

        Raises:
            UnknownVpsError: there never was such a VPS on this node.
        """
        with self._store.hold():
            known, now = self._store.find(named), self._clock()
            subject, words = known.vps.full_name, _in_words(kind, detail)
            if any((one.kind, one.detail) == (kind, detail) for one in known.measures):
                return Outcome(changed=False, subject=subject, text=f"{words} already")
            self._change_measures(known, (*known.measures, Measure(kind, detail, reason, now)))
            self._store.append(now, kind, subject, detail=detail, reason=reason)
        return Outcome(changed=True, subject=subject, text=f"{words} from now on")

    def lift(self, named: str, kind: str, detail: str = "") -> Outcome:
        """Lift a measure.

        Raises:
            UnknownVpsError: there never was such a VPS on this node.
        """
        with self._store.hold():
            known = self._store.find(named)
            subject, words = known.vps.full_name, _in_words(kind, detail)
            kept = tuple(one for one in known.measures if (one.kind, one.detail) != (kind, detail))
            if kept == known.measures:
                return Outcome(changed=False, subject=subject, text=f"not {words}")
            if kind == CUT:
                refusals.pass_over(self._store, known.vps.tap)
            self._change_measures(known, kept)
            self._store.append(self._clock(), measure_lifted(kind), subject, detail=detail)
        return Outcome(changed=True, subject=subject, text=f"no longer {words}")

    def _change_measures(self, known: Known, measures: tuple[Measure, ...]) -> None:
        used = self._enforcement.used
        changed = replace(known, measures=measures, used_bytes=used(known))
        self._enforcement.enforce(changed, also_blocked=known.enforced.measures.blocked)
        self._store.put(replace(changed, used_bytes=used(changed)))

    # -- all VPSs

    def known(self) -> list[Known]:
        """Return every VPS that was on this node, its volume as the kernel counts it now."""
        used = self._enforcement.used
        return [replace(known, used_bytes=used(known)) for known in self._store.all()]

    def restore(self) -> Outcome:
        """Load the rules, and let the VPSs that ran onto the network again; nobody else.

        Before the first guest starts, and after the rules were taken away. Rules first, names
        last: at no moment does a packet pass that no rule has seen.

        Raises:
            KernelError: the kernel refused a ruleset; nothing passes then.
        """
        with self._store.hold():
            changes, running = self._enforcement.restore()
        return Outcome(bool(changes), "", f"{len(running)} VPSs are on the network")

    def reconcile(self, domains: Mapping[str, Vps] | None) -> Outcome:
        """Count, keep, tell, and repair what differs between libvirt, the state and the kernel.

        *domains* are the VPSs of the domains that run, by tap, asked before the lock was taken
        (libvirt waits for the hook, and the hook for the lock); None where libvirt is not there.

        Raises:
            KernelError: the kernel refused; nothing of it was done.
        """
        from hoster.node.reconcile import Reconciliation  # no guest's start waits for it

        with self._store.hold():
            done = Reconciliation(self._enforcement, domains).run()
        text = f"{done.running} VPSs on the network, {done.written} elements written"
        return Outcome(done.repaired, "", text)


def _alike(one: Known, other: Known) -> bool:
    """Whether they differ in nothing but what was counted, and when it was started."""
    return replace(one, used_bytes=other.used_bytes, started_at=other.started_at) == other


def _in_words(kind: str, detail: str) -> str:
    return {CUT: "quarantined", THROTTLE: "throttled"}.get(kind, f"closed for {detail}")
