"""Domains on a real QEMU that change: live where that can be, by one reboot where not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from libvirt_provider import _xml
from libvirt_provider._resource import Change
from libvirt_provider.errors import PartlyDoneError, ProviderError

if TYPE_CHECKING:
    from conftest import Qemu, Web
    from libvirt_provider.domain import Domain

XSLT = (Path(__file__).parent / "vps.xslt").read_text()


def test_a_running_guest_is_plugged_up_and_defined_plain(
    qemu: Qemu, web: Web, domains: Domain
) -> None:
    resource_id, inputs = web.running(xml={"xslt": XSLT})
    number = qemu.connection.lookupByName("acme.web").ID()
    bigger = web.change(domains, inputs, resource_id, memory=512, vcpu=2)

    outputs = domains.update(bigger)

    assert number == qemu.connection.lookupByName("acme.web").ID()
    assert "memory 256 -> 512 MiB: live, no reboot\nvcpu 1 -> 2: live, no reboot" == web.said(
        bigger
    )
    assert (512, 2) == (outputs["memory"], outputs["vcpu"])
    assert "524288" == web.live().findtext("memory") == web.live().findtext("currentMemory")
    assert "2" == web.live().find("vcpu").get("current")
    assert [] == web.live(2).findall("devices/memory")
    assert "524288" == web.live(2).find("cpu/numa/cell").get("memory")


def test_uuid_mac_and_tap_outlive_a_reboot(qemu: Qemu, web: Web, domains: Domain) -> None:
    resource_id, inputs = web.running(xml={"xslt": XSLT})
    number = qemu.connection.lookupByName("acme.web").ID()
    smaller = web.change(domains, inputs, resource_id, memory=200)

    domains.update(smaller)
    interface = web.live().find("devices/interface")

    assert "needs one reboot (ACPI shutdown, 0.5 s, then hard)" in web.said(smaller)
    assert number != qemu.connection.lookupByName("acme.web").ID()
    assert resource_id == web.live().findtext("uuid")
    assert web.mac == interface.find("mac").get("address")
    assert "vps-cb007111" == interface.find("target").get("dev")


def test_a_generated_mac_is_kept(web: Web, domains: Domain) -> None:
    resource_id, inputs = web.running(networkInterfaces=[{"bridge": "br-public"}])
    before = web.live().find("devices/interface/mac").get("address")

    domains.update(web.change(domains, inputs, resource_id, memory=200))

    assert before == web.live().find("devices/interface/mac").get("address")


def test_a_guest_stopped_by_hand_is_not_started_by_a_change(
    qemu: Qemu, web: Web, domains: Domain
) -> None:
    resource_id, inputs = web.running()
    qemu.connection.lookupByName("acme.web").destroy()
    resized = web.change(domains, inputs, resource_id, memory=512)

    domains.update(resized)

    assert not qemu.connection.lookupByName("acme.web").isActive()
    assert "takes effect when it starts" in web.said(resized)
    found = domains.read(web.urn("Domain"), resource_id, inputs)
    assert found is not None
    assert (True, False) == (found.inputs["running"], found.outputs["running"])


def test_a_paused_guest_is_not_rebooted(qemu: Qemu, web: Web, domains: Domain) -> None:
    resource_id, inputs = web.running()
    guest = qemu.connection.lookupByName("acme.web")
    guest.suspend()

    domains.update(web.change(domains, inputs, resource_id, memory=200))

    paused = 3
    assert paused == guest.state()[0]


def test_running_starts_and_stops(qemu: Qemu, web: Web, domains: Domain) -> None:
    resource_id, inputs = web.running(running=False)
    assert not qemu.connection.lookupByName("acme.web").isActive()

    domains.update(web.change(domains, inputs, resource_id, running=True))
    assert qemu.connection.lookupByName("acme.web").isActive()

    domains.update(web.change(domains, {**inputs, "running": True}, resource_id, running=False))
    assert not qemu.connection.lookupByName("acme.web").isActive()


def test_description_and_metadata_change_under_a_running_guest(
    qemu: Qemu, web: Web, domains: Domain
) -> None:
    resource_id, inputs = web.running(metadata='<h:v xmlns:h="urn:h" plan="a"/>')
    number = qemu.connection.lookupByName("acme.web").ID()
    new = '<h:v xmlns:h="urn:h" plan="b"><h:w/></h:v>'

    domains.update(web.change(domains, inputs, resource_id, metadata=new, description="new"))

    for flags in (0, 2):
        assert "new" == web.live(flags).findtext("description")
        assert "b" == web.live(flags).find("metadata/{urn:h}v").get("plan")
        assert web.live(flags).find("metadata/{urn:h}v/{urn:h}w") is not None
    assert number == qemu.connection.lookupByName("acme.web").ID()


def test_autostart_follows_the_program(qemu: Qemu, web: Web, domains: Domain) -> None:
    resource_id, inputs = web.running()

    domains.update(web.change(domains, inputs, resource_id, autostart=True))

    assert 1 == qemu.connection.lookupByName("acme.web").autostart()


def test_a_preview_says_reboot_and_touches_nothing(web: Web, domains: Domain) -> None:
    resource_id, inputs = web.running()
    before = web.live(2)
    planned = web.change(domains, inputs, resource_id, memory=512)

    domains.planned_update(planned)

    assert "no maxMemory with a NUMA cell is declared" in web.said(planned)
    assert "needs one reboot" in web.said(planned)
    assert _xml.text_of(before) == _xml.text_of(web.live(2))


def test_a_definition_that_libvirt_refuses_leaves_the_old_one(
    qemu: Qemu, web: Web, domains: Domain
) -> None:
    resource_id, inputs = web.running()
    before = _xml.text_of(web.live(2))

    with pytest.raises(ProviderError, match=r"domain 'acme\.web'"):
        domains.update(web.change(domains, inputs, resource_id, machine="no-such-machine"))

    assert before == _xml.text_of(web.live(2))
    assert qemu.connection.lookupByName("acme.web").isActive()


def test_a_plug_that_fails_tells_what_is_there_and_a_second_run_ends_it(
    web: Web, domains: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource_id, inputs = web.running(xml={"xslt": XSLT})
    resized = web.change(domains, inputs, resource_id, memory=512, vcpu=2)
    monkeypatch.setattr("libvirt_provider.domain_live.dimm_xml", lambda _: _xml.root("nonsense"))

    with pytest.raises(PartlyDoneError, match=r"is redefined, but.*Run again") as partly:
        domains.update(resized)
    assert (256, 1) == (partly.value.outputs["memory"], partly.value.outputs["vcpu"])
    monkeypatch.undo()

    outputs = domains.update(web.change(domains, resized.new, resource_id))
    assert (512, 2) == (outputs["memory"], outputs["vcpu"])
    assert "524288" == web.live().findtext("memory")


def test_a_reboot_that_fails_is_ended_by_the_second_run(
    qemu: Qemu, web: Web, domains: Domain
) -> None:
    resource_id, inputs = web.running()
    broken = web.change(
        domains, inputs, resource_id, networkInterfaces=[{"bridge": "no-such-bridge"}]
    )

    with pytest.raises(PartlyDoneError) as partly:
        domains.update(broken)
    assert not qemu.connection.lookupByName("acme.web").isActive()

    again = Change(
        broken.urn, resource_id, dict(partly.value.outputs), broken.new, inputs, lambda _: None
    )
    domains.update(again)
    assert qemu.connection.lookupByName("acme.web").isActive()
