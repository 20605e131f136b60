"""A VPS is delivered when its stack says that it runs, and once. Contract: C4.2, C14.1."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from ipaddress import IPv4Address

import pytest

from hoster.acts import deliver
from hoster.catalogue import Catalogue
from hoster.errors import RuleError
from hoster.ledger import QUEUED, Ledger
from hoster.orders.declarations import VpsDeclaration

Declared = Callable[..., VpsDeclaration]
DEPLOYED = {"vps": {"web": {"ipv4": "203.0.113.17"}}}


@contextmanager
def server(greeting: bytes) -> Iterator[int]:
    """Listen on the loopback, say *greeting* to whoever comes; give the port."""
    listening = socket.create_server(("127.0.0.1", 0))

    def greet() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.sendall(greeting)

    thread = threading.Thread(target=greet)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def test_a_deployed_vps_is_delivered_once(
    ledger: Ledger, catalogue: Catalogue, declared: Declared, now: datetime
) -> None:
    vps = declared()
    ledger.orders.begin(vps.full_name, vps.ipv4, user="debian", now=now)

    def again() -> bool:
        return deliver.deliver(ledger, vps, catalogue, outputs=DEPLOYED, now=now)

    assert [True, False] == [again(), again()]
    assert [("delivery:acme/web", QUEUED)] == [
        (mail.occasion, mail.state) for mail in ledger.outbox.mails()
    ]


@pytest.mark.parametrize(
    "outputs",
    [
        {},
        {"vps": {}},
        {"vps": {"mail": {"ipv4": "203.0.113.17"}}},
        {"vps": {"web": {"ipv4": "203.0.113.99"}}},
    ],
    ids=["no stack", "no VPS", "another VPS", "another address"],
)
def test_what_does_not_run_is_not_delivered(
    ledger: Ledger,
    catalogue: Catalogue,
    declared: Declared,
    now: datetime,
    outputs: dict[str, object],
) -> None:
    vps = declared()
    ledger.orders.begin(vps.full_name, vps.ipv4, user="debian", now=now)

    with pytest.raises(RuleError, match="pulumi -C pulumi up -s acme"):
        deliver.deliver(ledger, vps, catalogue, outputs=outputs, now=now)

    assert [] == ledger.outbox.mails()


def test_the_mail_says_what_was_sold(catalogue: Catalogue, declared: Declared) -> None:
    told = deliver.mail_values(declared(plan="kvm-2"), catalogue)

    plan = catalogue.plans["kvm-2"]
    assert ("acme/web", "203.0.113.17", "Paris", "FR") == (
        told["vps"],
        told["ipv4"],
        told["city"],
        told["country"],
    )
    assert (plan.vcpus, plan.memory_mib, plan.disk_gib) == (
        told["vcpus"],
        told["memory_mib"],
        told["disk_gib"],
    )


def test_what_the_outbox_keeps_holds_no_secret(catalogue: Catalogue, declared: Declared) -> None:
    assert not {"password", "password_hash", "user"} & set(
        deliver.mail_values(declared(), catalogue)
    )


@pytest.fixture
def here(declared: Declared) -> VpsDeclaration:
    """A VPS that can be reached from a test."""
    return declared().model_copy(update={"ipv4": IPv4Address("127.0.0.1")})


def test_a_vps_that_greets_is_not_waited_for(
    here: VpsDeclaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[float] = []
    with server(b"SSH-2.0-OpenSSH_9.2\r\n") as port:
        monkeypatch.setattr(deliver, "SSH_PORT", port)

        deliver.wait_for(here, 5, told.append)

    assert [] == told


@pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 200 OK\r\n"])
def test_an_open_port_without_ssh_is_no_answer(
    here: VpsDeclaration, monkeypatch: pytest.MonkeyPatch, greeting: bytes
) -> None:
    told: list[float] = []
    with server(greeting) as port:
        monkeypatch.setattr(deliver, "SSH_PORT", port)

        with pytest.raises(deliver.NotAnsweringError, match="within 1 s"):
            deliver.wait_for(here, 1, told.append)

    assert told


def test_a_vps_that_never_answers_is_told_with_where_to_look(
    here: VpsDeclaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setattr(deliver, "SSH_PORT", port)

    with pytest.raises(deliver.NotAnsweringError) as caught:
        deliver.wait_for(here, 0.5, lambda _waited: None)

    assert "virsh console acme.web" in caught.value.remedy
    assert "Nothing was queued" in caught.value.remedy
