"""What a VPS sends is counted once, byte by byte, against its quota and for its cycle."""

from __future__ import annotations

import itertools
import json
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hoster.node.kernel import vps_elements
from hoster.node.kernel.netlink import Quota, Transaction
from hoster.node.kernel.vps_elements import FILTER
from hoster_lab.agent_node import (
    BUCKET_BYTES,
    MAIL,
    NOW,
    Node,
    conversation,
    throttled_packets,
    vps_of,
)
from hoster_lab.in_process import hears, inside, until
from hoster_lab.traffic import DB, WEB

if TYPE_CHECKING:
    from collections.abc import Callable

    from hoster_lab.wire import Rented

NEXT_CYCLE = datetime(2026, 4, 1, 12, tzinfo=UTC)

# -- what is counted


def test_a_byte_that_is_sent_is_counted_once_whatever_happens(two: Node) -> None:
    """C4.9: reload, restart, stop, plan, cycle of the agent; each time some more is sent."""
    events: list[Callable[[], object]] = [
        lambda: None,
        two.restore,
        lambda: two.reconcile(WEB, DB),
        lambda: (two.stop(WEB), two.start(WEB)),
        lambda: setattr(two, "agent", two.new_agent()),
        lambda: two.start(WEB),
        lambda: two.measure(WEB, "throttle"),
        lambda: two.lift(WEB, "throttle"),
        lambda: two.start(replace(WEB, quota_bytes=None)),
        lambda: two.reconcile(replace(WEB, quota_bytes=10**6), DB),
        lambda: (two.reconcile(), two.program("nft", "flush", "ruleset"), two.reconcile()),
        lambda: (two.reconcile(), two.program("nft", "delete", "table", "netdev", "hoster")),
        two.reconcile,
        lambda: (two.measure(WEB, "quarantine"), two.lift(WEB, "quarantine")),
    ]
    sent = 0
    for number, event in enumerate(events):
        event()
        assert 3 == two.passed("web", octets=1000 + number, count=3), number
        sent += 3 * (1000 + number)
        assert sent == two.used(WEB), number
    assert 0 == two.used(DB)
    [said] = json.loads(two.wire.agent("status", "acme/web", "--json"))
    assert sent == said["used_bytes"]


def test_what_a_vps_receives_is_not_its_volume(two: Node) -> None:
    """C4.9: from the world and from a neighbour."""
    assert 5 == two.passed("world", "web", octets=1400, count=5)
    assert 5 == two.passed("db", "web", octets=1400, count=5)

    assert (0, 7000) == (two.used(WEB), two.used(DB))


def test_a_packet_to_a_neighbour_is_counted_once_though_the_bridge_floods_it(two: Node) -> None:
    """C4.9: as long as the bridge does not know where the neighbour is, and then."""
    two.program("ip", "link", "set", DB.tap, "type", "bridge_slave", "fdb_flush")
    two.stations["world"].arrived()
    assert 5 == two.passed("web", "db", octets=1000, count=5)
    flooded = [one for one in two.stations["world"].arrived() if b"mark" in one]
    assert 5 == len(flooded)
    assert 5000 == two.used(WEB)

    two.passed("db")  # the bridge learns it
    two.stations["world"].arrived()
    assert 5 == two.passed("web", "db", octets=1000, count=5)
    assert [] == two.stations["world"].arrived()
    assert 10_000 == two.used(WEB)


def test_what_is_refused_before_it_is_a_vpss_is_not_its_volume(two: Node) -> None:
    """C4.9, C7.2: nobody can spend another's volume."""
    two.assert_closed()  # one packet of web's passes

    assert (100, 0) == (two.used(WEB), two.used(DB))


def test_a_stream_with_offloads_is_counted_as_the_tap_carries_it(two: Node) -> None:
    """C4.9: every byte between the frames' headers, in packets far larger than the wire's."""
    folder = f"/sys/class/net/{WEB.tap}/statistics"

    def received() -> int:
        octets, packets = two.program("cat", f"{folder}/rx_bytes", f"{folder}/rx_packets").split()
        return int(octets) - 14 * int(packets)

    before = received()
    with conversation(two) as (client, server):
        got, data = 0, bytes(2**20)
        client.setblocking(False)
        pending = memoryview(data)
        while got < len(data):
            if pending:
                with suppress(BlockingIOError):
                    pending = pending[client.send(pending) :]
            got += len(hears(server, 0.5))
        time.sleep(0.05)
        count = received() - before

    assert count > 2**20
    assert until(lambda: received() - before == two.used(WEB))


def set_anew(node: Node, rented: Rented) -> None:
    """Do what the agent never does: take the count away, as a reset by hand."""
    element = node.kernel()[vps_elements.metered(vps_of(rented))]
    assert isinstance(element.statement, Quota)
    changes = Transaction()
    changes.delete(*FILTER, [element])
    changes.add(*FILTER, [replace(element, statement=Quota(element.statement.limit_bytes))])
    with inside(node.wire.node):
        changes.commit()


def test_a_count_that_somebody_reset_goes_on_and_is_not_doubled(two: Node) -> None:
    """C4.9: whichever act finds it first, and whichever comes then."""
    acts: list[Callable[[], object]] = [
        lambda: two.reconcile(WEB, DB),
        lambda: two.measure(WEB, "throttle"),
        lambda: two.lift(WEB, "throttle"),
        lambda: two.start(WEB),
        two.restore,
        lambda: (two.stop(WEB), two.start(WEB)),
        lambda: two.start(replace(WEB, quota_bytes=10**9)),
        lambda: two.measure(WEB, "block-port", MAIL),
    ]
    sent = 0
    for first, then in itertools.product(acts, acts[:4]):
        assert 3 == two.passed("web", octets=1000, count=3)
        sent += 3000
        two.reconcile()
        set_anew(two, WEB)
        assert 1 == two.passed("web", octets=700)
        sent += 700
        first()
        then()
        assert sent == two.used(WEB)
    two.reconcile()
    assert sent == two.used(WEB)


# -- quota and cycle


def test_each_level_is_told_once_at_its_very_byte(node: Node) -> None:
    """C4.10: however often the agent looks; and both, where it looked too late for the first."""
    small = replace(WEB, quota_bytes=10_000)
    for rented in (small, replace(DB, quota_bytes=10_000)):
        node.start(rented)
    levels = "quota-80", "quota-100"
    told = []
    for octets in (7_960, 40, 1_960, 40, 40):
        for size in (*[1_000] * (octets // 1_000), octets % 1_000):
            if size:
                node.send("web", "world", size)
        node.probe.settle()
        for _ in range(2):
            node.reconcile()
        told.append([kind for kind, _ in node.events(*levels)])
    assert told == [[], ["quota-80"], ["quota-80"], [*levels], [*levels]]
    details = [event.details for event in node.store.events() if event.kind in levels]
    assert [(8_000, 10_000), (10_000, 10_000)] == [
        (each["bytes"], each["quota_bytes"]) for each in details
    ]

    node.passed("db", octets=1_400, count=8)
    node.reconcile()
    assert [(level, "other/db") for level in levels] == node.events(*levels)[2:]


def test_over_its_quota_a_vps_is_throttled_by_the_kernel_alone_until_the_cycle_ends(
    node: Node,
) -> None:
    """C4.9, C4.10: at the byte, without the agent; lifted at the cycle's end, counting anew."""
    small = replace(WEB, quota_bytes=50_000)
    node.start(small)
    node.start(DB)

    began = time.monotonic()
    passed = node.passed("web", octets=1000, count=300)
    assert 50 + BUCKET_BYTES // 1000 - 1 <= passed <= 50 + throttled_packets(began)
    # What it sends is its volume, though it does not pass.
    assert 300_000 == node.used(WEB)
    node.reconcile(small, DB)
    passed += node.passed("web", octets=1000, count=220)
    assert passed <= 50 + throttled_packets(began)

    node.clock.now = NEXT_CYCLE
    for _ in range(2):
        node.reconcile(small, DB)
    assert [
        ("quota-80", "acme/web"),
        ("quota-100", "acme/web"),
        ("cycle-ended", "acme/web"),
        ("quota-throttle-lifted", "acme/web"),
        ("cycle-ended", "other/db"),
    ] == node.events()[2:]
    assert 0 == node.used(WEB)
    assert 40 == node.passed("web", octets=1000, count=40)
    assert 40_000 == node.used(WEB)
    [ended, _] = [event for event in node.store.events() if event.kind == "cycle-ended"]
    assert (520_000, "2026-03-31T00:00:00+02:00") == (ended.details["bytes"], ended.details["to"])


def test_a_clock_that_is_set_back_begins_no_cycle_again(two: Node) -> None:
    """C4.9: what was counted stays; nothing ends twice."""
    two.passed("web", octets=1000)
    two.clock.now = NEXT_CYCLE
    two.reconcile()
    two.passed("web", octets=1000, count=2)
    for now in (NOW, NOW - timedelta(days=400), NEXT_CYCLE, NEXT_CYCLE + timedelta(days=1)):
        two.clock.now = now
        two.reconcile()
        two.stop(WEB)
        two.start(WEB)
        assert 2000 == two.used(WEB)

    assert [("cycle-ended", "acme/web")] == two.events("cycle-ended")[:1]
    assert 2 == len(two.events("cycle-ended"))  # one of each VPS


def test_the_cycle_of_a_vps_that_is_off_turns_too(node: Node) -> None:
    """C4.9: it comes back to a volume of nothing, and to its own rate."""
    small = replace(WEB, quota_bytes=1_000)
    node.start(small)
    node.passed("web", octets=1_000, count=2)
    node.reconcile()
    node.stop(small)
    node.clock.now = NEXT_CYCLE
    node.reconcile()
    node.start(small)

    assert 0 == node.used(WEB)
    assert ["cycle-ended", "quota-throttle-lifted"] == [kind for kind, _ in node.events()[-2:]]


def test_each_vps_has_its_own_cycle(two: Node) -> None:
    """C4.9: at its own day, and at midnight where it is."""
    two.start(replace(WEB, anchor="2026-01-15", timezone="Asia/Tokyo"))
    two.start(replace(DB, anchor="2026-01-15", timezone="America/New_York"))
    for name in ("web", "db"):
        two.passed(name)
    two.clock.now = datetime(2026, 3, 14, 15, tzinfo=UTC)  # the 15th, in Tokyo
    two.reconcile()
    assert [("cycle-ended", "acme/web")] == two.events("cycle-ended")
    assert (0, 100) == (two.used(WEB), two.used(DB))
    two.clock.now = datetime(2026, 3, 15, 4, tzinfo=UTC)
    two.reconcile()

    assert (0, 0) == (two.used(WEB), two.used(DB))


def test_unlimited_is_never_throttled(node: Node) -> None:
    """C4.9: whatever was used, and whatever the agent was told before."""
    endless = replace(WEB, quota_bytes=None)
    node.start(endless)
    with node.store.hold():
        node.store.put(replace(node.known(WEB), used_bytes=10**17))
    node.stop(endless)
    with node.store.hold():
        node.store.put(replace(node.known(WEB), used_bytes=10**17))
    node.start(endless)
    node.reconcile(endless)

    assert 220 == node.passed("web", octets=1000, count=220)
    assert 10**17 + 220_000 == node.used(WEB)
    assert [] == node.events("quota-80", "quota-100")
    [said] = json.loads(node.wire.agent("status", "--json"))
    assert (None, False) == (said["quota_bytes"], said["over_quota"])


def test_a_larger_plan_lifts_the_throttle_and_keeps_the_count(node: Node) -> None:
    """C4.10: live, by reconcile as by the hook; a smaller one throttles."""
    small, large = replace(WEB, quota_bytes=10_000), replace(WEB, plan="kvm-8", quota_bytes=10**6)
    node.start(small)
    node.passed("web", octets=1000, count=20)
    node.reconcile(small)
    node.reconcile(large)
    assert 20_000 == node.used(WEB)
    assert [("plan-changed", "acme/web"), ("quota-throttle-lifted", "acme/web")] == [
        event for event in node.events() if event[0] in {"plan-changed", "quota-throttle-lifted"}
    ]
    assert 220 == node.passed("web", octets=1000, count=220)
    node.reconcile(small)

    assert 240_000 == node.used(WEB)
    began = time.monotonic()
    assert node.passed("web", octets=1000, count=220) <= throttled_packets(began)
    assert 2 == len(node.events("quota-100"))
