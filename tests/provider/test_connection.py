"""A host is met when it is needed, and one that is not there is told soon."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest

from libvirt_provider._connection import Host
from libvirt_provider.errors import ProviderError, UnreachableHostError
from libvirt_provider.provider import Provider

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Qemu


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A host that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_host_that_is_silent_is_given_up_in_time(
    silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIBVIRT_PROVIDER_CONNECT_SECONDS", "0.3")
    started = time.monotonic()

    with pytest.raises(UnreachableHostError, match=r"no answer within 0\.3 s.*Nothing was changed"):
        Host(f"qemu+tcp://127.0.0.1:{silent_port}/system").connection()

    assert time.monotonic() - started < 2


def test_a_host_that_refuses_is_named() -> None:
    uri = "qemu+unix:///system?socket=/nowhere/libvirt-sock"

    with pytest.raises(UnreachableHostError, match=r"cannot reach libvirt at qemu\+unix"):
        Host(uri).connection()


def test_a_dead_connection_is_made_anew(qemu: Qemu) -> None:
    host = qemu.host
    first = host.connection()
    assert first is host.connection()

    first.close()

    assert "QEMU" == host.connection().getType()


def test_configuring_meets_no_host() -> None:
    provider = Provider()
    provider.configure({"uri": "qemu+tcp://192.0.2.1/system"})

    assert "qemu+tcp://192.0.2.1/system" == provider.host.uri


def test_a_resource_that_is_not_served_is_named() -> None:
    with pytest.raises(ProviderError, match="Ignition is not served"):
        Provider().resource("urn:pulumi:a::b::libvirt:index/ignition:Ignition::c")


def test_a_parents_type_is_no_part_of_the_token() -> None:
    urn = "urn:pulumi:a::b::hoster:vps:VirtualServer$libvirt:index/volume:Volume::c"

    assert "Volume" == type(Provider().resource(urn)).__name__
