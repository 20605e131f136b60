"""What reconcile and restore find otherwise than libvirt and the state say is put right."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import timedelta

from hoster.node.kernel import netlink
from hoster.node.kernel.netlink import Element, Quota, Transaction
from hoster.node.kernel.vps_elements import FILTER
from hoster.node.reconcile import GRACE
from hoster.node.refusals import SAID_EVERY
from hoster_lab.agent_node import NOW, Node, newcomer, vps_of
from hoster_lab.in_process import frame, inside
from hoster_lab.traffic import DB, STRANGER, WEB
from hoster_lab.wire import INBOUND, UPLINK, Rented


def test_a_vps_that_runs_and_is_not_known_is_let_in(node: Node) -> None:
    """C4.3: the hook did not run."""
    assert node.reconcile(WEB).changed
    node.assert_as_the_state_says()
    assert 1 == node.passed("web")
    assert [("vps-new", "acme/web"), ("vps-repaired", "acme/web")] == node.events()
    node.stop(WEB)
    node.reconcile(WEB)
    assert 1 == node.passed("web")
    assert 100 + 100 == node.used(WEB)
    assert not node.reconcile(WEB).changed


def test_a_node_that_lost_its_state_learns_its_vpss_from_libvirt(two: Node) -> None:
    """C4.3, C4.8: all of them at once, each with a class of its own; measures are lost with it."""
    two.measure(WEB, "quarantine")
    two.store.close()
    two.wire.state.unlink()
    two.agent = two.new_agent()
    some = [newcomer(number) for number in range(3)]
    for one in some:
        (two.interfaces / one.tap).touch()

    assert two.reconcile(WEB, DB, *some).changed
    two.assert_as_the_state_says()
    assert 5 == len({known.class_minor for known in two.store.all()})
    assert (1, 1) == (two.passed("web"), two.passed("db"))
    assert not two.reconcile(WEB, DB, *some).changed


def test_a_vps_that_is_gone_is_taken_out_when_its_time_of_grace_is_over(two: Node) -> None:
    """C4.3: its hook may have run before its tap is there; what has a tap is not gone."""
    for seconds, tap_there, passes in (
        (0, False, 1),
        (59, False, 1),
        (61, True, 1),
        (61, False, 0),
    ):
        two.clock.now = NOW + timedelta(seconds=seconds)
        (two.interfaces / WEB.tap).unlink(missing_ok=True)
        if tap_there:
            (two.interfaces / WEB.tap).touch()
        two.reconcile(DB)
        assert passes == two.passed("web"), (seconds, tap_there)
    assert timedelta(seconds=60) == GRACE
    assert not two.known(WEB).running
    assert 300 == two.used(WEB)
    two.assert_as_the_state_says()


def test_a_start_gives_a_new_time_of_grace(two: Node) -> None:
    """C4.3: after a reboot it is known as one that runs, and its tap is not there yet."""
    (two.interfaces / WEB.tap).unlink()
    two.clock.advance(timedelta(hours=2))
    assert not two.start(WEB).changed
    two.clock.advance(GRACE / 2)
    two.reconcile(DB)
    assert 1 == two.passed("web")
    two.clock.advance(GRACE)
    two.reconcile(DB)

    assert 0 == two.passed("web")


def test_a_vps_that_stopped_since_libvirt_was_asked_stays_out(two: Node) -> None:
    """C7.2: libvirt is asked before the lock is taken; no false alarm, no element left behind."""
    two.stop(WEB)
    (two.interfaces / WEB.tap).unlink()
    two.reconcile(WEB, DB)
    assert not two.known(WEB).running
    two.assert_as_the_state_says()
    two.reconcile(newcomer(1), DB)
    assert 2 == len(two.store.all())
    assert [] == two.events("vps-repaired")


def test_without_libvirt_nobody_is_taken_out(two: Node) -> None:
    """A libvirtd that restarts is no VPS that stopped."""
    (two.interfaces / WEB.tap).unlink()
    two.clock.advance(timedelta(hours=1))
    two.reconcile()

    assert 1 == two.passed("web")


def test_a_changed_plan_is_in_force_without_a_restart(two: Node) -> None:
    """C4.8: rates and quota, its count going on; and told once."""
    two.passed("web", octets=1000)
    changed = replace(
        WEB, plan="kvm-4", guaranteed_mbit_s=200, throttle_mbit_s=2, quota_bytes=10**12
    )
    for changes in (True, False):
        assert changes == two.reconcile(changed, DB).changed
        two.assert_as_the_state_says()
    assert vps_of(changed) == two.known(WEB).vps
    assert 1000 == two.used(WEB)
    assert [("plan-changed", "acme/web")] == two.events("plan-changed")


def test_what_somebody_changed_in_the_kernel_is_put_right(two: Node) -> None:
    """C7.2: what is missing comes, what is too much goes, what is different is as it was."""
    two.measure(DB, "quarantine")
    stranger, world = self_made(two)
    changes = Transaction()
    tap = netlink.interface(STRANGER)
    changes.add(*FILTER, [Element("senders", tap + netlink.mac(stranger) + world)])
    sender = tap + netlink.mac(stranger) + netlink.ethertype(0x0800) + world
    changes.add(*FILTER, [Element("metered", sender, netlink.class_id(1, 16), Quota(10**9))])
    db = netlink.interface(DB.tap) + netlink.mac(DB.mac) + netlink.ipv4(DB.ipv4)
    changes.add(*FILTER, [Element("senders", db)])
    changes.delete(*FILTER, [Element("throttles", netlink.interface(WEB.tap))])
    with inside(two.wire.node):
        changes.commit()
    two.program(
        "tc",
        "class",
        "change",
        "dev",
        UPLINK,
        "parent",
        "1:1",
        "classid",
        "1:10",
        "htb",
        "rate",
        "1mbit",
    )
    two.program(
        "tc",
        "class",
        "add",
        "dev",
        UPLINK,
        "parent",
        "1:1",
        "classid",
        "1:99",
        "htb",
        "rate",
        "1mbit",
    )
    assert two.passed("stranger")  # it could have

    assert two.reconcile(WEB, DB).changed
    two.assert_as_the_state_says()
    two.assert_closed()
    assert (0, 0) == (two.passed("stranger"), two.passed("db"))
    assert not two.reconcile(WEB, DB).changed


def self_made(node: Node) -> tuple[str, bytes]:
    mac, ipv4 = node.place("stranger")
    return mac, netlink.ipv4(ipv4)


def test_refused_packets_are_told_once_in_ten_minutes(two: Node) -> None:
    """C7.2: whose tap, and how many since; a tap that nothing declares is another matter."""
    spoofed = frame((WEB.mac, DB.ipv4), two.place("world"))
    kinds = "spoof-refused", "unknown-tap"

    def refuse(count: int) -> None:
        two.stations["web"].send(spoofed, count)
        two.send("stranger", "world", count=2 * count)
        assert 1 == two.passed("db")  # behind them

    def told() -> list[tuple[str, str, int]]:
        found = [event for event in two.store.events() if event.kind in kinds]
        return [(event.kind, event.subject, event.details["packets"]) for event in found]

    first = {("spoof-refused", "acme/web", 5), ("unknown-tap", STRANGER, 10)}
    refuse(5)
    for _ in range(2):
        two.reconcile()
    assert (2, first) == (len(told()), set(told()))
    refuse(3)
    two.clock.advance(SAID_EVERY - timedelta(seconds=1))
    two.reconcile()
    assert 2 == len(told())
    two.clock.advance(timedelta(seconds=1))
    two.reconcile()
    then = {("spoof-refused", "acme/web", 3), ("unknown-tap", STRANGER, 6)}
    assert (4, first | then) == (len(told()), set(told()))
    two.clock.advance(2 * SAID_EVERY)
    two.reconcile()
    assert 4 == len(told())

    two.program("nft", "flush", "ruleset")  # the kernel counts from nothing again
    two.reconcile()
    refuse(1)
    two.clock.advance(SAID_EVERY)
    two.reconcile()
    assert {("spoof-refused", "acme/web", 1), ("unknown-tap", STRANGER, 2)} == set(told()[4:])


def test_what_is_sent_in_quarantine_is_no_spoof(two: Node) -> None:
    """C4.11, C7.2: neither then, nor when it is lifted."""
    two.measure(WEB, "quarantine")
    two.send("web", "world", count=50)
    two.passed("db")
    two.reconcile()
    two.lift(WEB, "quarantine")
    two.clock.advance(2 * SAID_EVERY)
    two.reconcile()
    assert [] == two.events("spoof-refused", "unknown-tap")

    two.stations["web"].send(frame((WEB.mac, DB.ipv4), two.place("world")), 3)
    two.passed("db")
    two.reconcile()
    assert [3] == [
        event.details["packets"] for event in two.store.events() if event.kind == "spoof-refused"
    ]


def test_after_a_reboot_only_those_that_ran_are_let_in(two: Node) -> None:
    """C7.2, C4.9, C4.11: with their volumes and measures, before the first guest starts."""
    two.passed("web", octets=1000, count=3)
    two.measure(WEB, "throttle")
    two.stop(DB)
    for argv in (
        ("nft", "flush", "ruleset"),
        ("tc", "qdisc", "delete", "dev", UPLINK, "root"),
        ("ip", "link", "delete", INBOUND),
    ):
        two.program(*argv)
    two.agent = two.new_agent()

    assert two.restore().changed
    two.assert_as_the_state_says()
    assert 3000 == two.used(WEB)
    assert (1, 0) == (two.passed("web"), two.passed("db"))
    two.assert_closed()


def test_many_commands_at_once_do_one_after_the_other(node: Node) -> None:
    """C4.8: hooks, timer and ops do not wait for each other to begin."""
    some = [Rented(f"v{number}", WEB.ipv4 + number) for number in range(6)]

    def command(*arguments: str) -> list[str]:
        return ["ip", "netns", "exec", node.wire.node, *node.wire.agent_command(*arguments)]

    quiet, pipe = subprocess.DEVNULL, subprocess.PIPE
    started = [
        (subprocess.Popen(command("vps", "start"), stdin=pipe, stdout=quiet, stderr=pipe), one)
        for one in some
    ]
    others = [subprocess.Popen(command(act), stdout=quiet) for act in ("reconcile", "restore")]
    said = [process.communicate(one.domain().encode())[1] for process, one in started]
    assert [b""] * 6 == said
    assert [0, 0] == [process.wait() for process in others]

    assert {one.tap for one in some} == {known.vps.tap for known in node.store.all()}
    assert 6 == len({known.class_minor for known in node.store.all()})
    node.assert_as_the_state_says()
