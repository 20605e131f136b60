"""What the node lets through, live, after the roles and again after a reboot: real packets."""

import contextlib
import json

import pytest

testinfra_hosts = ["ansible://all"]

IPV4, TAP, MAC = "203.0.113.17", "vps-cb007111", "02:00:cb:00:71:11"
DOMAIN = f"""<domain><name>acme.web</name><metadata><hoster:vps xmlns:hoster='urn:hoster:vps:1'
client='acme' name='web' plan='kvm-1' location='nowhere'>
<hoster:address ipv4='{IPV4}' prefix='25' gateway='203.0.113.1' mac='{MAC}' tap='{TAP}'/>
<hoster:rates guaranteed-mbit-s='100' ceiling-mbit-s='none' throttle-mbit-s='1'/>
<hoster:traffic bytes-cycle='10000000000000' cycle-anchor='2026-01-31' timezone='Europe/Paris'/>
</hoster:vps></metadata><devices><interface type='bridge'><mac address='{MAC}'/>
<target dev='{TAP}'/></interface></devices></domain>"""


@pytest.fixture
def changed(host):
    """Whether this is the scenario with every input changed."""
    return host.check_output("hostname") == "molecule-changed"


@pytest.fixture
def bridge(changed):
    return "br-internet" if changed else "br-public"


def hook(host, what, domain=DOMAIN):
    command = f"/etc/libvirt/hooks/qemu.d/hoster acme.web {what} begin - <<'XML'\n{domain}\nXML"
    return host.run(command)


@contextlib.contextmanager
def plugged(host, bridge, tap):
    """A station at a tap of the bridge, with the address of the VPS; yields its namespace."""
    host.check_output("ip netns add trial")
    try:
        peer = "peer name eth0 address %s netns trial"
        host.check_output(f"ip link add %s type veth {peer}", tap, MAC)
        host.check_output("ip link set %s master %s up", tap, bridge)
        inside = "ip netns exec trial ip"
        host.check_output(f"{inside} link set eth0 up")
        host.check_output(f"{inside} address add {IPV4}/24 dev eth0")
        host.check_output(f"{inside} neighbour add 203.0.113.1 lladdr 02:00:00:00:00:01 dev eth0")
        yield "ip netns exec trial"
    finally:
        host.check_output("ip netns delete trial")


def sent_over_uplink(host, station):
    """How many of five packets of the station leave by the uplink."""
    counter = "cat /sys/class/net/eth1/statistics/tx_packets"
    before = int(host.check_output(counter))
    host.run(f"{station} ping -c 5 -i 0.05 -W 1 203.0.113.1")
    return int(host.check_output(counter)) - before


def test_units_run_now_and_after_a_reboot(host):
    for unit in ("hoster-node-restore.service", "hoster-node-reconcile.timer"):
        assert host.service(unit).is_running, unit
        assert host.service(unit).is_enabled, unit
    assert "libvirtd.service" in host.check_output(
        "systemctl show --property RequiredBy hoster-node-restore.service"
    )


def test_units_are_hardened(host):
    for unit in ("hoster-node-restore.service", "hoster-node-reconcile.service"):
        said = host.check_output("systemd-analyze security --no-pager %s", unit)
        exposure = float(said.rpartition("service:")[2].split()[0])
        assert exposure <= 2.5, (unit, exposure)


def test_the_distributions_filter_service_cannot_open_the_node(host):
    assert host.service("nftables").is_masked


def test_the_live_rules_have_the_numbers_of_the_inputs(host, changed):
    rules = host.check_output("nft list table bridge hoster")
    rate = "limit rate 5000/second burst 500 packets" if changed else "limit rate 20000/second"
    assert rate in rules
    assert ("th dport 445 drop" in rules) == changed
    assert ("th sport { 19, 67, 6881-6889 } drop" in rules) == changed
    assert ('oifname "management0" accept' in rules) == changed


def test_the_uplink_has_its_classes_both_ways(host, changed):
    rate, node = ("500Mbit", "20Mbit") if changed else ("1Gbit", "10Mbit")
    for device in ("eth1", "ifb-changed" if changed else "ifb-hoster"):
        classes = host.check_output("tc class show dev %s", device)
        assert f"class htb 1:1 root rate {rate}" in classes
        assert f"rate {node}" in classes
    assert 'fwd to "ifb-' in host.check_output("nft list table netdev hoster")


def test_a_vps_has_network_from_the_hook_until_the_hook(host, bridge):
    """C4.3, C4.8: libvirt's hook alone opens and closes it."""
    with plugged(host, bridge, TAP) as station:
        assert sent_over_uplink(host, station) == 0
        assert hook(host, "prepare").rc == 0
        assert sent_over_uplink(host, station) == 5
        classes = host.check_output("tc class show dev eth1")
        assert "rate 100Mbit" in classes
        assert hook(host, "release").rc == 0
        assert sent_over_uplink(host, station) == 0
    assert "rate 100Mbit" not in host.check_output("tc class show dev eth1")


def test_an_unknown_tap_passes_nothing_and_is_told(host, bridge):
    with plugged(host, bridge, "tap-unknown") as station:
        assert sent_over_uplink(host, station) == 0
    host.check_output("systemctl start hoster-node-reconcile.service")
    lines = host.check_output("hoster-node events --json").splitlines()
    assert "unknown-tap" in {json.loads(line)["kind"] for line in lines}


def test_wrong_metadata_keeps_a_domain_from_starting(host):
    done = hook(host, "prepare", DOMAIN.replace(MAC, "02:00:00:00:00:99", 1))
    assert done.rc == 1
    assert "the address makes it" in done.stderr


def test_stopping_a_unit_opens_nothing(host, bridge):
    host.check_output("systemctl stop hoster-node-reconcile.timer")
    try:
        with plugged(host, bridge, "tap-unknown") as station:
            assert sent_over_uplink(host, station) == 0
    finally:
        host.check_output("systemctl start hoster-node-reconcile.timer")


def test_guests_wait_for_the_rules(host):
    said = host.check_output("systemctl show --property Requires --property After libvirtd.service")
    for line in said.splitlines():
        assert "hoster-node-restore.service" in line
