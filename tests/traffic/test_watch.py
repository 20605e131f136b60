"""`hoster-node watch` on real stacks: a VPS is seen to come up, and nothing is opened for it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from hoster.node.boot.signs import PROBE
from hoster.node.store import Store
from hoster_lab.traffic import DB, WEB, stations
from hoster_lab.wire import GATEWAY, UPLINK, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

GREETING = "SSH-2.0-tiny_1"
GREETER = f"""
import socket
door = socket.create_server(("", 22))
print("ready", flush=True)
while True:
    visitor, _ = door.accept()
    with visitor:
        visitor.sendall(b"{GREETING}\\r\\n")
        try:
            visitor.recv(100)
        except ConnectionResetError:
            pass
"""
MAC = bytes.fromhex(WEB.mac.replace(":", ""))


@contextmanager
def greeter(node: Wire, name: str = "web") -> Iterator[None]:
    """A real server on the guest's port 22, which greets."""
    process = node.start(node.station(name), sys.executable, "-c", GREETER)
    try:
        assert process.stdout is not None
        assert "ready\n" == process.stdout.readline()
        yield
    finally:
        process.kill()
        process.communicate()


@dataclass
class Said:
    code: int
    json: dict[str, Any]
    talk: str

    @property
    def seen(self) -> list[str]:
        return list(self.json["seen"])


def watch(node: Wire, *, seconds: float = 8.0) -> Said:
    return ended(watching(node, seconds))


def watching(node: Wire, seconds: float) -> subprocess.Popen[str]:
    argv = node.agent_command("watch", "acme/web", "--json", "--seconds", str(seconds))
    return node.start(node.node, *argv)


def ended(process: subprocess.Popen[str]) -> Said:
    output, talk = process.communicate(timeout=60)
    return Said(process.returncode, json.loads(output) if output else {}, talk)


def neighbours(node: Wire) -> dict[str, str]:
    """MAC by address, as the guest has it now; an address without one is left out."""
    listed = json.loads(node.on(node.station("web"), "ip", "-json", "neighbour") or "[]")
    return {one["dst"]: one["lladdr"] for one in listed if "lladdr" in one}


def forget_neighbours(node: Wire) -> None:
    """As one that has just booted."""
    node.on(node.station("web"), "ip", "neighbour", "flush", "all")


def gateways_mac(node: Wire) -> str:
    return node.on(node.world, "cat", "/sys/class/net/eth0/address").strip()


def queues(node: Wire) -> list[str]:
    """Every queue and class of the node; without their counts."""
    devices = (WEB.tap, UPLINK)
    kinds = ("qdisc", "class")
    return [
        node.on(node.node, "tc", kind, "show", "dev", device)
        for kind in kinds
        for device in devices
    ]


def test_a_connected_vps_is_seen_to_come_up(two: Wire) -> None:
    """C4.4: ARP, ping, greeting, in this order; the queues stay, and what it costs is little."""
    forget_neighbours(two)
    before = queues(two)
    with greeter(two):
        said = watch(two)

    assert (0, True, GREETING) == (said.code, said.json["answering"], said.json["banner"])
    assert ["arp", "ping", "ssh"] == said.seen
    assert "acme/web" == said.json["vps"]
    assert f"greets as {GREETING}" in said.talk
    assert before == queues(two)
    assert gateways_mac(two) == neighbours(two).get(str(GATEWAY.ip))
    assert {str(GATEWAY.ip)} == set(neighbours(two))
    status = json.loads(two.agent("status", "acme/web", "--json"))
    assert 0 < status[0]["used_bytes"] < 600


def test_a_vps_in_quarantine_is_seen_to_come_up_and_stays_cut_off(two: Wire) -> None:
    """C7.4: not one packet of it gets past its tap, and it learns the gateway's true MAC."""
    two.agent("quarantine", "acme/web")
    forget_neighbours(two)
    used = json.loads(two.agent("status", "acme/web", "--json"))[0]["used_bytes"]
    with greeter(two), stations(two) as around:
        said = watch(two)
        captured = around.received()

    assert (0, ["arp", "ping", "ssh"]) == (said.code, said.seen)
    assert GREETING == said.json["banner"]
    for name in ("world", "db", "stranger", "node"):
        assert [] == [frame.hex() for frame in captured[name] if MAC == frame[6:12]], name
        assert [] == [frame.hex() for frame in captured[name] if PROBE.packed in frame], name
    assert any(GATEWAY.ip.packed in frame for frame in captured["world"])  # the question for it
    assert {str(GATEWAY.ip): gateways_mac(two)} == neighbours(two)
    assert used == json.loads(two.agent("status", "acme/web", "--json"))[0]["used_bytes"]
    two.agent("reconcile")
    assert "spoof-refused" not in two.agent("events")
    two.agent("quarantine", "acme/web", "--lift")
    two.agent("reconcile")
    assert "spoof-refused" not in two.agent("events")
    web = two.station("web")
    assert " 0% packet loss" in two.on(web, "ping", "-c", "1", "-W", "1", str(GATEWAY.ip))


def test_a_gateway_that_does_not_answer_is_named_and_nobody_makes_up_its_mac(two: Wire) -> None:
    """In quarantine the guest needs it; a false one would keep it off the network afterwards."""
    two.agent("quarantine", "acme/web")
    forget_neighbours(two)
    two.on(two.world, "ip", "link", "set", "eth0", "arp", "off")
    with greeter(two):
        said = watch(two, seconds=6)

    assert (1, ["arp"]) == (said.code, said.seen)
    assert "its gateway 203.0.113.1 does not say its MAC" in said.talk.splitlines()[-1]
    assert {} == neighbours(two)


def test_a_vps_without_ssh_is_an_error_that_names_what_was_seen(two: Wire) -> None:
    """C7.4: only a system that lets its client in is up."""
    said = watch(two, seconds=2.5)

    assert (1, False, ["arp", "ping"]) == (said.code, said.json["answering"], said.seen)
    error = said.talk.splitlines()[-1]
    assert error == ("hoster-node: acme/web does not answer after 2 s: seen ARP and ping, not SSH")


def test_a_vps_that_is_silent_is_an_error(two: Wire) -> None:
    """Its tap is there, and nobody answers on it."""
    two.on(two.station("web"), "ip", "link", "set", "eth0", "down")
    said = watch(two, seconds=2)

    assert (1, []) == (said.code, said.seen)
    assert "seen nothing, not ARP, ping and SSH" in said.talk


def test_a_vps_that_does_not_run_is_waited_for_in_vain(two: Wire) -> None:
    """The error says that there is no tap."""
    two.power_off(WEB)
    said = watch(two, seconds=1)

    assert (1, {}) == (said.code, said.json["seen"])
    assert f"its tap {WEB.tap} is not up: the VPS does not run" in said.talk


def test_a_vps_that_starts_and_is_started_again_is_waited_for(two: Wire) -> None:
    """What was seen of a boot that ended counts no more."""
    two.power_off(WEB)
    process = watching(two, 30)
    time.sleep(1)
    two.power_on(WEB)
    time.sleep(2.5)
    two.power_off(WEB)
    time.sleep(0.5)
    two.power_on(WEB)
    with greeter(two):
        said = ended(process)

    assert (0, GREETING) == (said.code, said.json["banner"])
    assert said.json["seen"]["arp"] > 3.5
    assert 1 == said.talk.count("the boot that was watched is over")
    assert 2 == said.talk.count(f"{WEB.tap} is not up yet")


def test_a_tap_that_is_taken_down_is_waited_for(two: Wire) -> None:
    """Told once, and not asked without a pause."""
    process = watching(two, 20)
    time.sleep(1.5)
    two.on(two.node, "ip", "link", "set", WEB.tap, "down")
    time.sleep(1.5)
    two.on(two.node, "ip", "link", "set", WEB.tap, "up")
    with greeter(two):
        said = ended(process)

    assert (0, GREETING) == (said.code, said.json["banner"])
    assert said.json["seen"]["arp"] > 2
    assert 1 == said.talk.count("is not up yet")


def test_a_port_that_opens_late_is_found(two: Wire) -> None:
    """It is tried once a second."""
    process = watching(two, 20)
    time.sleep(2.5)
    with greeter(two):
        said = ended(process)

    assert 0 == said.code
    assert said.json["seen"]["ping"] < 1.5 < said.json["seen"]["ssh"]


def test_a_quarantine_that_begins_or_ends_meanwhile_is_heeded(two: Wire) -> None:
    """C7.4: the question for the gateway is passed on for whom it does not hear, and for no other.

    Lifted within the watch, the guest has the true MAC all the same.
    """
    forget_neighbours(two)
    two.agent("quarantine", "acme/web")
    process = watching(two, 20)
    time.sleep(2)
    two.agent("quarantine", "acme/web", "--lift")
    with greeter(two):
        said = ended(process)

    assert 0 == said.code
    assert {str(GATEWAY.ip): gateways_mac(two)} == neighbours(two)


@pytest.mark.parametrize("argument", ["acme/nobody", "203.0.113.99"])
def test_a_vps_that_is_not_known_is_wrong_usage(node: Wire, argument: str) -> None:
    process = node.start(node.node, *node.agent_command("watch", argument))
    _, talk = process.communicate(timeout=20)

    assert 2 == process.returncode
    assert f"no VPS '{argument}' was ever on this node" in talk


def test_tagged_frames_are_no_answers(two: Wire) -> None:
    """C7.2: the filter lets none pass, so that one who tags is not on the network."""
    web = two.station("web")
    two.on(web, "ip", "address", "flush", "dev", "eth0")
    # The probes come without a tag, and are answered with one.
    answer = (
        "import socket\n"
        "link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))\n"
        "link.bind(('eth0', 3))\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    frame, sender = link.recvfrom(2048)\n"
        "    if frame[12:14] == b'\\x08\\x06' and sender[2] != 4:\n"
        f"        mac, own = {MAC!r}, {MAC + WEB.ipv4.packed!r}\n"
        "        head = frame[6:12] + mac + b'\\x81\\x00\\x00\\x05' + frame[12:20]\n"
        "        link.send(head + b'\\x00\\x02' + own + frame[22:32])\n"
    )
    process = two.start(web, sys.executable, "-c", answer)
    try:
        assert process.stdout is not None
        assert "ready\n" == process.stdout.readline()
        said = watch(two, seconds=2)
    finally:
        process.kill()
        process.communicate()

    assert (1, []) == (said.code, said.seen)


# -- forgetting


def elements(node: Wire) -> str:
    return node.on(node.node, "nft", "list", "table", "bridge", "hoster")


def test_a_vps_that_ended_is_forgotten_with_all_that_was_of_it(two: Wire) -> None:
    """C12.5, C15.2: the next client of its address starts with nothing."""
    spoofed = ("ping", "-c", "2", "-W", "1", "-I", "203.0.113.66", str(GATEWAY.ip))
    web = two.station("web")
    two.on(web, "ip", "address", "add", "203.0.113.66/24", "dev", "eth0")
    two.on(web, *spoofed, check=False)
    two.agent("block-port", "acme/web", "25/tcp")
    two.agent("throttle", "acme/web")
    two.agent("quarantine", "acme/web", "--as", "measure-17")
    two.power_off(WEB)
    two.agent("reconcile")
    said = json.loads(two.agent("forget", "acme/web", "--json"))

    assert (True, "acme/web") == (said["changed"], said["vps"])
    assert [DB.tap] == [one.vps.tap for one in Store(two.state).all()]
    assert {} == Store(two.state).refusals()
    assert WEB.tap not in elements(two)
    assert str(WEB.ipv4) not in elements(two)
    assert "1:10 " not in two.on(two.node, "tc", "class", "show", "dev", UPLINK)
    assert DB.tap in elements(two)
    event = json.loads(two.agent("events", "--json").splitlines()[-1])
    assert ("vps-forgotten", "acme/web") == (event["kind"], event["subject"])
    assert str(WEB.ipv4) == event["details"]["ipv4"]

    again = json.loads(two.agent("forget", "acme/web", "--json"))
    assert (False, "not known here") == (again["changed"], again["text"])

    two.agent("vps", "start", stdin=WEB.domain().replace("acme", "next"))
    (found,) = json.loads(two.agent("status", "next/web", "--json"))
    assert (0, [], True) == (found["used_bytes"], found["measures"], found["running"])
    two.agent("reconcile")
    told = [json.loads(line) for line in two.agent("events", "--json").splitlines()]
    after = [one["kind"] for one in told if one["number"] > event["number"]]
    assert ["vps-new"] == after


def test_a_vps_that_runs_is_not_forgotten(two: Wire) -> None:
    """Neither one that the state knows as running, nor one whose tap is there all the same."""
    before = elements(two)
    for _ in range(2):
        process = two.start(two.node, *two.agent_command("forget", "acme/web"))
        _, talk = process.communicate(timeout=20)
        assert 1 == process.returncode
        assert f"acme/web runs on {WEB.tap}: end its domain first" in talk
        assert "vps-forgotten" not in two.agent("events")
        if before:
            assert before == elements(two)
        before = ""
        two.on(two.node, *two.unattended("stop"), stdin=WEB.domain())


def test_only_the_vps_with_that_address_is_forgotten(two: Wire) -> None:
    """C12.5: a name may be another VPS's by now, and so may an address."""
    two.power_off(WEB)
    for name, ipv4 in (("acme/web", DB.ipv4), ("other/db", WEB.ipv4), ("acme/web", GATEWAY.ip)):
        said = json.loads(two.agent("forget", name, "--ipv4", str(ipv4), "--json"))
        assert (False, "not known here") == (said["changed"], said["text"])
    assert 2 == len(Store(two.state).all())

    said = json.loads(two.agent("forget", "acme/web", "--ipv4", str(WEB.ipv4), "--json"))
    assert said["changed"]
