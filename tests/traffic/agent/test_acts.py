"""Each act of the agent does what it says, at once and once; on wrong input, nothing."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from hoster.node.agent import Agent
from hoster.node.errors import KernelError, UnknownVpsError
from hoster.node.kernel import vps_elements
from hoster.wire.errors import NodeError
from hoster_lab.agent_node import (
    BUCKET_BYTES,
    MAIL,
    SHOP,
    Node,
    conversation,
    throttled_packets,
    vps_of,
)
from hoster_lab.in_process import PATIENCE_SECONDS, hears
from hoster_lab.traffic import DB, WEB
from hoster_lab.wire import INBOUND

if TYPE_CHECKING:
    from collections.abc import Callable

# -- each act


def test_each_act_says_whether_it_changed_anything(node: Node) -> None:
    """C4.11: twice is once; by the command, as hooks and ops call it."""
    acts: list[tuple[str, ...]] = [
        ("vps", "start"),
        ("quarantine", "acme/web", "--reason", "incident 17"),
        ("quarantine", "acme/web", "--lift"),
        ("throttle", str(WEB.ipv4)),
        ("throttle", WEB.tap, "--lift"),
        ("block-port", "acme/web", MAIL),
        ("block-port", "acme/web", "025/tcp", "--lift"),
        ("vps", "stop"),
    ]

    def said(act: tuple[str, ...]) -> tuple[bool, str]:
        stdin = WEB.domain() if act[0] == "vps" else None
        answer = json.loads(node.wire.agent(*act, "--json", stdin=stdin))
        return answer["changed"], answer["vps"]

    for act in acts:
        assert [(True, "acme/web"), (False, "acme/web")] == [said(act), said(act)], act
    # The look for closed ports, of which there is none any more.
    assert [(True, ""), (False, "")] == [said(("restore",)), said(("restore",))]
    assert 1 == len(node.events("vps-new"))
    assert 1 == len(node.events("block-port-lifted"))


def test_a_start_of_a_vps_that_sends_is_no_change(two: Node) -> None:
    """C4.9: to have counted is none."""
    assert 3 == two.passed("web", count=3)

    assert not two.start(WEB).changed


def test_a_start_lets_a_vps_in_and_a_stop_takes_all_of_it_out(two: Node) -> None:
    """C4.3, C4.9: set by set, as the state says and as `nft` shows; its volume is kept."""
    for kind, detail in (("block-port", MAIL), ("throttle", "")):
        two.measure(WEB, kind, detail)
    two.assert_as_the_state_says()
    assert (1, 1) == (two.passed("web"), two.passed("world", "web"))
    assert {WEB.tap, str(WEB.ipv4)} == names_shown(two) & {WEB.tap, str(WEB.ipv4)}

    two.stop(WEB)

    assert (0, 0) == (two.passed("web"), two.passed("world", "web"))
    assert 1 == two.passed("db")
    left = {place for place in two.kernel() if place[1] != "block_ports"}
    assert left == vps_elements.places_of(vps_of(DB))
    # What was refused since is told by its tap.
    two.program("nft", "flush", "set", "bridge", "hoster", "refused")
    assert set() == names_shown(two) & {WEB.tap, str(WEB.ipv4)}
    assert [] == two.wrong_classes()
    assert 100 == two.used(WEB)
    two.reconcile()
    two.assert_as_the_state_says()


def names_shown(node: Node) -> set[str]:
    """Every tap and address that `nft` shows."""
    shown = node.program("nft", "-j", "list", "ruleset")
    return {name for name in (WEB.tap, str(WEB.ipv4), DB.tap, str(DB.ipv4)) if name in shown}


def test_a_vps_that_comes_back_goes_on_counting(two: Node) -> None:
    """C4.9: stopped, what it sends passes nowhere and is nobody's volume."""
    two.passed("web", octets=1000, count=10)
    two.stop(WEB)
    assert 0 == two.passed("web", octets=1000, count=5)
    two.start(WEB)
    assert 10_000 == two.used(WEB)
    two.passed("web", octets=500, count=4)

    assert 12_000 == two.used(WEB)


@pytest.mark.parametrize("stopped", [True, False], ids=["stopped", "its stop was missed"])
def test_the_next_client_of_an_address_starts_with_nothing(two: Node, stopped: bool) -> None:
    """C4.9, C4.11: neither volume nor measure of the one before."""
    two.passed("web", octets=1000, count=9)
    for kind, detail in (("quarantine", ""), ("throttle", ""), ("block-port", MAIL)):
        two.measure(WEB, kind, detail)
    if stopped:
        two.stop(WEB)
    number = two.known(WEB).class_minor

    two.start(SHOP)

    known = two.known(SHOP)
    assert ("next/shop", 0, (), number) == (
        known.vps.full_name,
        known.used_bytes,
        known.measures,
        known.class_minor,
    )
    assert 1 == two.passed("web", port=25)
    assert 100 == two.used(SHOP)
    two.assert_as_the_state_says(exactly=False)
    assert ("vps-new", "next/shop") in two.events()
    with pytest.raises(UnknownVpsError):
        two.store.find("acme/web")
    two.reconcile(SHOP, DB)
    assert 100 == two.used(SHOP)


def test_a_late_stop_of_the_client_before_does_not_cut_the_next(two: Node) -> None:
    """C4.3."""
    two.start(SHOP)

    assert not two.stop(WEB).changed
    assert 1 == two.passed("web")
    two.assert_as_the_state_says()


def test_a_domain_that_is_no_vps_gets_nothing_and_is_no_error(node: Node) -> None:
    """C7.2: the hook is asked for every domain."""
    xml = "<domain><name>tool</name><devices/></domain>"
    before = node.kernel()

    assert [False, False] == [node.act(act, xml).changed for act in (Agent.start, Agent.stop)]
    assert before == node.kernel()
    assert [] == node.store.all()
    assert not node.stop(WEB).changed  # nor one that never started here


def test_a_quarantine_cuts_an_open_connection_until_it_is_lifted(two: Node) -> None:
    """C4.11: at once, both ways, and whatever happens to VPS, rules and agent meanwhile."""
    with conversation(two) as (client, server):
        client.send(b"before")
        assert b"before" == hears(server, PATIENCE_SECONDS)

        two.measure(WEB, "quarantine")
        client.send(b"cut")
        server.send(b"cut")
        assert (b"", b"") == (hears(server, 0.1), hears(client, 0.1))

        events: list[Callable[[], object]] = [
            lambda: two.stop(WEB),
            lambda: two.start(WEB),
            two.restore,
            lambda: setattr(two, "agent", two.new_agent()),
            lambda: two.start(replace(WEB, plan="kvm-8", guaranteed_mbit_s=200)),
            lambda: two.reconcile(WEB, DB),
        ]
        for event in events:
            event()
            assert (0, 0) == (two.passed("web"), two.passed("world", "web"))
        assert (b"", b"") == (hears(server, 0.01), hears(client, 0.01))
        assert 1 == two.passed("db")

        two.lift(WEB, "quarantine")
        # TCP tries again after as long as it was cut, at most.
        assert (b"cut", b"cut") == (hears(server, 60), hears(client, 60))


def test_a_quarantine_is_in_force_again_after_somebody_emptied_the_tables(two: Node) -> None:
    """C4.11: until then the node is open, and no connection may try again in this test."""
    two.measure(WEB, "quarantine")
    two.program("nft", "delete", "table", "bridge", "hoster")

    two.reconcile(WEB, DB)

    assert (0, 0) == (two.passed("web"), two.passed("world", "web"))
    assert 1 == two.passed("db")


def test_a_vps_in_quarantine_can_be_stopped_and_is_not_forgotten(two: Node) -> None:
    """C4.11: a measure may come while it is off, too."""
    two.stop(WEB)
    two.measure(WEB, "quarantine")
    two.start(WEB)
    assert 0 == two.passed("web")
    two.stop(WEB)
    two.lift(WEB, "quarantine")
    assert 0 == two.passed("web")
    two.start(WEB)

    assert 1 == two.passed("web")


def test_a_throttle_holds_a_vps_to_its_rate_until_it_is_lifted(two: Node) -> None:
    """C4.11: what the kernel's bucket holds passes at once, and not much more."""
    two.measure(WEB, "throttle")
    for _ in range(2):
        began = time.monotonic()
        passed = two.passed("web", octets=1000, count=220)
        assert BUCKET_BYTES // 1000 - 1 <= passed <= throttled_packets(began)
        two.stop(WEB)
        two.start(WEB)
    assert 220 == two.passed("db", octets=1000, count=220)
    two.lift(WEB, "throttle")
    assert 220 == two.passed("web", octets=1000, count=220)


def test_a_closed_port_is_closed_for_one_vps_until_it_is_opened(two: Node) -> None:
    """C4.11: what the look for closed ports needs goes when nobody needs it."""
    for rented in (WEB, DB):
        two.measure(rented, "block-port", MAIL)
    two.measure(WEB, "block-port", "6667/tcp")

    def closed() -> list[int]:
        return [two.passed(name, port=port) for name in ("web", "db") for port in (25, 6667, 443)]

    assert [0, 0, 1, 0, 1, 1] == closed()
    two.lift(WEB, "block-port", MAIL)
    two.reconcile()
    assert [1, 0, 1, 0, 1, 1] == closed()
    two.lift(WEB, "block-port", "6667/tcp")
    two.lift(DB, "block-port", MAIL)
    assert [1] * 6 == closed()
    assert two.reconcile().changed
    assert [] == [place for place in two.kernel() if place[1] in {"blocks", "block_ports"}]
    assert not two.reconcile().changed


def test_a_measure_against_nobody_is_refused(two: Node) -> None:
    """C4.11."""
    before = two.kernel()
    for act in (Agent.measure, Agent.lift):
        with pytest.raises(UnknownVpsError, match="no VPS 'acme/nobody' was ever on this node"):
            two.act(act, "acme/nobody", "quarantine", "")

    assert before == two.kernel()


# -- input that is wrong, and a kernel that refuses

STRICT = {"PYTHONIOENCODING": "utf-8:strict"}
"""As in a locale that is neither C nor POSIX."""
NONSENSE = [
    b"",
    b"nonsense",
    WEB.domain()[:-30].encode(),
    WEB.domain().replace(WEB.mac, DB.mac, 1).encode(),
    WEB.domain().replace("'10000000000000'", "'10TB'").encode(),
    b"<!DOCTYPE domain>" + WEB.domain().encode(),
    WEB.domain().encode().replace(b"acme", b"acm\xe9"),
]


def test_wrong_input_is_refused_with_a_sentence_and_applies_nothing(two: Node) -> None:
    """C7.2: through the command and the hook; a hook that fails starts no domain."""
    kernel, state, events = two.kernel(), two.store.all(), two.events()
    for wrong in NONSENSE:
        for command in (
            *(two.wire.agent_command("vps", act) for act in ("start", "stop")),
            *(two.wire.unattended(act) for act in ("start", "stop")),
        ):
            done = subprocess.run(
                ["ip", "netns", "exec", two.wire.node, *command],
                input=wrong,
                capture_output=True,
                env=os.environ | STRICT,
                check=False,
            )
            assert (1, b"") == (done.returncode, done.stdout)
            assert done.stderr.startswith(b"hoster-node: ")
            assert 1 == done.stderr.count(b"\n")

    assert (kernel, state, events) == (two.kernel(), two.store.all(), two.events())
    assert 1 == two.passed("web")


@pytest.mark.parametrize(
    "break_rules",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("@senders", "@nobody", 1),
        lambda text: text.replace("policy drop", "policy open", 1),
        lambda _: "",
    ],
    ids=["half", "another set", "no policy", "empty"],
)
def test_rules_that_nft_refuses_leave_those_that_are_loaded(
    two: Node, break_rules: Callable[[str], str]
) -> None:
    """C7.2: the sentence names the file; no element and no count is lost."""
    file = two.wire.config / "packet-filter.nft"
    whole = file.read_text()
    two.passed("web", octets=1000)
    kernel = two.kernel()
    file.write_text(break_rules(whole))

    if file.read_text():
        with pytest.raises(KernelError, match=r"packet-filter\.nft"):
            two.restore()
    else:
        two.restore()  # nothing to load is no error, and changes nothing
    assert kernel == two.kernel()
    two.assert_closed()
    file.write_text(whole)
    two.restore()
    assert kernel.keys() == two.kernel().keys()


def test_without_rules_nobody_is_let_in(two: Node) -> None:
    """C7.2: every act refuses, and the state stays as it was."""
    state = two.store.all()
    two.program("nft", "delete", "table", "bridge", "hoster")
    acts: list[Callable[[], object]] = [
        lambda: two.start(SHOP),
        lambda: two.stop(WEB),
        lambda: two.measure(WEB, "throttle"),
        lambda: two.used(WEB),
    ]
    for act in acts:
        with pytest.raises(KernelError, match="nftables: hoster"):
            act()

    assert state == two.store.all()
    assert [] == two.events("throttle")
    assert two.reconcile(WEB, DB).changed
    two.assert_as_the_state_says()
    two.assert_closed()
    assert [("rules-restored", "")] == two.events("rules-restored")


@pytest.mark.parametrize("content", [None, "{", "{}", '{"uplink": "eth1"}', "[]"])
def test_an_uplink_that_is_described_wrongly_lets_nobody_in(two: Node, content: str | None) -> None:
    """C4.8: no VPS without its guarantee; the sentence names the file."""
    file = two.wire.config / "bandwidth.json"
    file.unlink()
    if content is not None:
        file.write_text(content)
    kernel = two.kernel()

    with pytest.raises(NodeError, match=r"bandwidth\.json"):
        two.start(SHOP)
    assert kernel == two.kernel()


def test_a_kernel_that_refuses_a_class_lets_nobody_in(node: Node) -> None:
    """C4.8: the class is made before the way is open; what is missing is made anew."""
    node.start(DB)
    node.program("ip", "link", "delete", INBOUND)

    with pytest.raises(KernelError, match="tc -batch"):
        node.start(WEB)
    assert 0 == node.passed("web")
    assert [DB.tap] == [known.vps.tap for known in node.store.all()]
    assert node.reconcile(DB, WEB).changed
    node.assert_as_the_state_says()
    assert (1, 1) == (node.passed("web"), node.passed("db"))
