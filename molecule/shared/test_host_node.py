"""The live node after the role, and again after a reboot."""

import hashlib
from pathlib import Path

import pytest

DEFAULTS = {
    "host_node_storage_pool": "vps",
    "host_node_storage_path": "/var/lib/libvirt/images/vps",
    "host_node_bridge": "br-public",
    "host_node_uplink": "eth1",
    "host_node_shutdown_seconds": 60,
}

testinfra_hosts = ["ansible://all"]


@pytest.fixture
def inputs(host):
    """The role's inputs on this node: what the scenario sets, else the defaults."""
    return {**DEFAULTS, **host.ansible.get_variables()}


def virsh(host, *arguments):
    places = " ".join(["%s"] * len(arguments))
    return host.check_output(f"virsh --connect qemu:///system {places}", *arguments)


def test_libvirt_runs_now_and_after_a_reboot(host):
    for unit in ("libvirtd", "libvirt-guests"):
        assert host.service(unit).is_running, unit
        assert host.service(unit).is_enabled, unit


def test_nothing_of_libvirts_own_network_is_there(host):
    assert virsh(host, "net-list", "--name") == ""


def test_the_pool_is_running_and_starts_by_itself(host, inputs):
    about = virsh(host, "pool-info", inputs["host_node_storage_pool"])
    assert "running" in about
    assert "Autostart:      yes" in about
    xml = virsh(host, "pool-dumpxml", inputs["host_node_storage_pool"])
    assert f"<path>{inputs['host_node_storage_path']}</path>" in xml


def test_the_pool_takes_a_disk(host, inputs):
    pool = inputs["host_node_storage_pool"]
    virsh(host, "vol-create-as", pool, "trial.qcow2", "1M", "--format", "qcow2")
    virsh(host, "vol-delete", "trial.qcow2", "--pool", pool)


def test_the_bridge_carries_the_uplink_and_no_address(host, inputs):
    bridge = host.file(f"/sys/class/net/{inputs['host_node_bridge']}")
    assert bridge.exists
    assert host.file(f"{bridge.path}/brif/{inputs['host_node_uplink']}").exists
    assert host.interface(inputs["host_node_bridge"]).addresses == []
    assert host.interface(inputs["host_node_uplink"]).addresses == []


@pytest.mark.parametrize("setting", ["stp_state", "forward_delay", "multicast_snooping"])
def test_the_bridge_adds_no_delay_and_no_snooping(host, inputs, setting):
    path = f"/sys/class/net/{inputs['host_node_bridge']}/bridge/{setting}"
    assert host.file(path).content_string.strip() == "0"


def test_a_tap_of_a_vps_gets_into_the_bridge(host, inputs):
    host.check_output("ip tuntap add dev vps-trial mode tap")
    try:
        host.check_output("ip link set vps-trial master %s up", inputs["host_node_bridge"])
    finally:
        host.check_output("ip link delete vps-trial")


def test_vpss_get_their_time_to_shut_down(host, inputs):
    settings = host.file("/etc/default/libvirt-guests").content_string
    assert f"SHUTDOWN_TIMEOUT={inputs['host_node_shutdown_seconds']}" in settings
    assert "ON_SHUTDOWN=shutdown" in settings


def test_the_base_volumes_are_the_catalogues_and_verified(host, inputs):
    wanted = {}
    if "tiny_image" in inputs:
        tiny = Path(inputs["tiny_image"]).read_bytes()
        wanted["tiny@1.qcow2"] = hashlib.sha512(tiny).hexdigest()
    listed = virsh(host, "vol-list", inputs["host_node_storage_pool"]).splitlines()[2:]
    assert sorted(wanted) == sorted(line.split()[0] for line in listed if line.strip())
    for name, checksum in wanted.items():
        path = f"{inputs['host_node_storage_path']}/{name}"
        assert checksum == host.check_output("sha512sum %s", path).split()[0]
        recorded = host.file(f"/var/lib/hoster/images/{name}.sha512").content_string
        assert checksum == recorded.strip()
