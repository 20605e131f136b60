"""What goes in: named where it is unknown, unsupported or of another type."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import struct_pb2

from libvirt_provider._connection import Host
from libvirt_provider._values import UNKNOWN, plain, secrets, wire
from libvirt_provider.cloud_init_disk import CloudInitDisk
from libvirt_provider.domain import Domain
from libvirt_provider.network import Network
from libvirt_provider.pool import Pool
from libvirt_provider.provider import Provider
from libvirt_provider.volume import Volume

URN = "urn:pulumi:acme::hoster::libvirt:index/domain:Domain::web"
NOWHERE = Host("test:///nowhere")


def wrong(resource: Any, inputs: dict[str, Any], old: dict[str, Any] | None = None) -> list[Any]:
    _, failures = resource(NOWHERE).checked(URN, b"seed", old or {}, inputs)
    return [(failure.property, failure.reason) for failure in failures]


@pytest.mark.parametrize(
    ("resource", "inputs", "where", "text"),
    [
        (Volume, {"sise": 1}, "sise", "did you mean 'size'?"),
        (Volume, {"size": "big"}, "size", "must be a whole number, not a string"),
        (Volume, {"size": True}, "size", "must be a whole number, not True"),
        (Volume, {"size": 0}, "size", "at least 1"),
        (Volume, {"format": "ext4"}, "format", "one of 'qcow2', 'raw'"),
        (Volume, {"source": "a", "baseVolumeName": "b"}, "baseVolumeName", "together with source"),
        (CloudInitDisk, {"userData": 5}, "userData", "must be a string"),
        (Domain, {"coreosIgnition": "x"}, "coreosIgnition", "not supported by this provider"),
        (Domain, {"filesystems": []}, "filesystems", "xml.xslt"),
        (Domain, {"tpm": {}}, "tpm", "not supported"),
        (Domain, {"disks": [{"url": "http://x"}]}, "disks[0].url", "not supported"),
        (Domain, {"disks": [{}]}, "disks[0]", "needs one of volumeId, file, blockDevice"),
        (
            Domain,
            {"networkInterfaces": [{"bridge": "b", "waitForLease": True}]},
            "networkInterfaces[0].waitForLease",
            "must be false",
        ),
        (Domain, {"networkInterfaces": [{"mac": "x"}]}, "networkInterfaces[0]", "needs one of"),
        (Domain, {"consoles": [{"type": "pty"}]}, "consoles[0].targetPort", "is required"),
        (Pool, {"type": "zfs"}, "type", "one of 'dir', 'logical'"),
        (Pool, {"type": "dir"}, "target.path", "is required"),
        (Network, {"addresses": ["here"]}, "addresses[0]", "192.0.2.0/24"),
        (Network, {"dns": {"hosts": []}}, "dns.hosts", "not supported"),
    ],
)
def test_a_wrong_input_is_named(
    resource: Any, inputs: dict[str, Any], where: str, text: str
) -> None:
    [(property_, reason)] = wrong(resource, inputs)

    assert where == property_
    assert text in reason


def test_all_that_is_wrong_is_told_at_once() -> None:
    assert ["a", "b"] == [name for name, _ in wrong(Volume, {"a": 1, "b": 2})]


def test_an_ill_typed_secret_is_not_shown() -> None:
    assert "hunter2" not in str(wrong(CloudInitDisk, {"userData": ["hunter2"]}))


def test_what_only_a_real_run_knows_is_taken() -> None:
    assert [] == wrong(Domain, {"disks": [{"volumeId": UNKNOWN}], "cloudinit": UNKNOWN})


def test_a_name_left_out_is_made_once_and_kept() -> None:
    first, _ = Volume(NOWHERE).checked(URN, b"seed", {}, {})
    later, _ = Volume(NOWHERE).checked(URN, b"other", first, {})

    assert first["name"].startswith("web-")
    assert first["name"] == later["name"]


@pytest.mark.parametrize("uri", ["esx://host", "not a uri", 5])
def test_a_uri_of_another_hypervisor_is_refused(uri: object) -> None:
    assert ["uri"] == [failure.property for failure in Provider().config_failures({"uri": uri})]


def test_values_survive_the_wire() -> None:
    values = {"size": 2**40, "ratio": 0.5, "flag": True, "list": ["a", {"b": 1}], "later": UNKNOWN}

    assert values == plain(wire(values))


def test_a_secret_stays_one_and_is_read_as_what_it_is() -> None:
    struct = wire({"userData": "x", "name": "seed"}, {"userData"})

    assert {"userData"} == secrets(struct)
    assert {"userData": "x", "name": "seed"} == plain(struct)
    assert struct.fields["userData"].WhichOneof("kind") == "struct_value"


def test_a_secret_inside_a_list_hides_the_whole_property() -> None:
    inner = wire({"value": "x"}, {"value"}).fields["value"]
    struct = struct_pb2.Struct()
    struct.fields["cmdlines"].list_value.values.append(inner)

    assert {"cmdlines"} == secrets(struct)
