"""What a host node believes of a domain's metadata: all of it, or nothing (C4.3, C7.2)."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hoster.catalogue import NAME, Plan
from hoster.wire.errors import InvalidMetadataError
from hoster.wire.metadata import MAX_XML_BYTES, metadata_xml, parsed_metadata, vps_of_domain
from hoster.wire.vps import Vps

if TYPE_CHECKING:
    from collections.abc import Callable

    from hoster.catalogue import Catalogue

DOMAIN = """<domain type="kvm"><name>acme.web</name><metadata>{metadata}</metadata>
<devices><interface type="bridge"><mac address="{mac}"/><source bridge="br-public"/>
<target dev="{tap}"/></interface></devices></domain>"""
IPV4 = IPv4Address("203.0.113.17")
GOOD = Vps(
    client="acme",
    name="web",
    plan="kvm-1",
    ipv4=IPV4,
    guaranteed_mbit_s=100,
    ceiling_mbit_s=1000,
    throttle_mbit_s=1,
    traffic_bytes=10**13,
    anchor=date(2026, 1, 31),
    timezone="Europe/Paris",
    gateway=IPv4Address("203.0.113.1"),
)
# What nobody could receive as its own; a declaration never has them.
SPECIAL = "0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"  # noqa: S104 - no socket

names = st.from_regex(NAME, fullmatch=True).filter(lambda name: "\n" not in name)
addresses = st.ip_addresses(v=4).filter(
    lambda ipv4: not (ipv4.is_loopback or ipv4.is_multicast or str(ipv4) in SPECIAL)
)
mbit_s = st.integers(1, 10**6)


def parsed(xml: str) -> ElementTree.Element:
    return ElementTree.fromstring(xml)  # noqa: S314 - we wrote it, or the agent took it before


def said(vps: Vps) -> str:
    """What `pulumi up` writes of it."""
    return metadata_xml(vps, location="paris", prefix_length=24)


def domain(metadata: str, mac: str = GOOD.mac, tap: str = GOOD.tap) -> str:
    return DOMAIN.format(metadata=metadata, mac=mac, tap=tap)


WEB = domain(said(GOOD))


def sold(plan: Plan, ipv4: IPv4Address = IPV4, /, **fields: Any) -> Vps:
    """A VPS with what a plan promises."""
    return replace(
        replace(GOOD, **fields),
        ipv4=ipv4,
        guaranteed_mbit_s=plan.guaranteed_mbit_s,
        ceiling_mbit_s=plan.ceiling_mbit_s,
        throttle_mbit_s=plan.throttle_mbit_s,
        traffic_bytes=plan.traffic_bytes,
    )


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    throttle, guaranteed, ceiling = sorted(draw(st.tuples(mbit_s, mbit_s, mbit_s)))
    return Plan(
        range="kvm",
        title="A plan",
        vcpus=1,
        memory_mib=1024,
        disk_gib=10,
        price_eur_month="5.00",
        guaranteed_mbit_s=guaranteed,
        ceiling_mbit_s=draw(st.sampled_from([None, ceiling])),
        throttle_mbit_s=throttle,
        traffic_bytes_month=draw(st.integers(1, 2**62) | st.just("unlimited")),
    )


def as_libvirt_stores_it(xml: str) -> str:
    return domain(xml)


def as_libvirt_hands_it_out(xml: str) -> str:
    """Of a running domain, it gives the element alone, and takes the prefix off."""
    root = parsed(xml)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return ElementTree.tostring(root, encoding="unicode")


def test_every_plan_on_sale_is_read_as_it_was_written(catalogue: Catalogue) -> None:
    """C4.8, C4.9: control machine and node mean the same by the same words."""
    vpss = [sold(plan, plan=name) for name, plan in catalogue.plans.items()]
    vpss.append(replace(GOOD, ceiling_mbit_s=None, traffic_bytes=None))

    assert vpss == [vps_of_domain(domain(said(vps))) for vps in vpss]


@given(
    plan=plans(),
    named=st.tuples(names, names, names),
    ipv4=addresses,
    anchor=st.dates(date(2000, 1, 1), date(2199, 12, 31)),
    timezone=st.sampled_from(["UTC", "Europe/Paris", "America/Argentina/Buenos_Aires"]),
)
def test_whatever_a_plan_says_is_read_back_the_same(
    plan: Plan, named: tuple[str, str, str], ipv4: IPv4Address, anchor: date, timezone: str
) -> None:
    """C4.3, C4.8, C4.9, C4.10: from the hook, and from a running domain."""
    client, name, plan_name = named
    fields = {"client": client, "name": name, "plan": plan_name}
    vps = sold(plan, ipv4, anchor=anchor, timezone=timezone, **fields)
    xml = said(vps)

    assert vps == vps_of_domain(domain(xml, vps.mac, vps.tap))
    assert vps == parsed_metadata(as_libvirt_hands_it_out(xml))
    assert vps == parsed_metadata(xml)


def test_what_is_deployed_is_written_the_same_to_the_byte() -> None:
    """The provider compares it as text: another byte would be a change to every VPS."""
    head = '<hoster:vps xmlns:hoster="urn:hoster:vps:1" client="acme" name="web" plan="kvm-1"'
    address = 'ipv4="203.0.113.17" prefix="24" gateway="203.0.113.1"'
    wire = f'<hoster:address {address} mac="02:00:cb:00:71:11" tap="vps-cb007111"/>'
    rates = 'guaranteed-mbit-s="100" ceiling-mbit-s="{}" throttle-mbit-s="1"'
    cycle = 'bytes-cycle="{}" cycle-anchor="2026-01-31" timezone="Europe/Paris"'
    text = (
        f'{head} location="paris">{wire}<hoster:rates {rates}/><hoster:traffic {cycle}/>'
        "</hoster:vps>"
    )

    assert text.format(1000, 10**13) == said(GOOD)
    assert text.format("none", "unlimited") == said(
        replace(GOOD, ceiling_mbit_s=None, traffic_bytes=None)
    )


def test_a_vps_whose_gateway_nobody_said_is_not_written() -> None:
    with pytest.raises(InvalidMetadataError, match="gateway is missing"):
        said(replace(GOOD, gateway=None))


def test_a_vps_is_called_by_client_and_name_and_wired_by_its_address() -> None:
    """C4.3."""
    vps = vps_of_domain(WEB)

    assert vps is not None
    assert ("acme/web", "vps-cb007111", "02:00:cb:00:71:11") == (vps.full_name, vps.tap, vps.mac)


@pytest.mark.parametrize(
    "metadata",
    [
        "",
        '<app:vps xmlns:app="urn:somebody:else:1" client="acme" name="web"/>',
        '<app:vps xmlns:app="urn:hoster:vps:2" client="acme" name="web"/>',
        '<os:libosinfo xmlns:os="http://libosinfo.org/xmlns/libvirt/domain/1.0"/>',
        "<vps/>",
    ],
)
def test_a_domain_without_our_metadata_is_no_vps(metadata: str) -> None:
    """C7.2: it gets nothing through, and nobody complains."""
    assert vps_of_domain(domain(metadata)) is None


def test_facts_outside_of_metadata_are_nobodys() -> None:
    """C7.2: what a description says about itself is no fact."""
    xml = f"<domain><description>{said(GOOD)}</description></domain>"

    assert vps_of_domain(xml) is None


def attributes() -> list[tuple[str, str]]:
    """Every attribute that a node reads, with the element that it is in."""
    unread = {"location", "prefix"}
    return [
        (element.tag.rpartition("}")[2], name)
        for element in parsed(said(GOOD)).iter()
        for name in element.attrib
        if name not in unread
    ]


def without(tag: str, name: str) -> str:
    root = parsed(said(GOOD))
    for element in root.iter():
        if element.tag.endswith(f"}}{tag}"):
            del element.attrib[name]
    return ElementTree.tostring(root, encoding="unicode")


@pytest.mark.parametrize(("tag", "name"), attributes())
def test_a_fact_that_is_missing_is_named(tag: str, name: str) -> None:
    """C7.2: nothing is assumed."""
    with pytest.raises(InvalidMetadataError, match=rf"^{name} is missing"):
        vps_of_domain(domain(without(tag, name)))


def changed(tag: str, change: Callable[[ElementTree.Element, ElementTree.Element], None]) -> str:
    root = parsed(said(GOOD))
    child = next(one for one in root if one.tag.endswith(f"}}{tag}"))
    change(root, child)
    return ElementTree.tostring(root, encoding="unicode")


@pytest.mark.parametrize("tag", ["address", "rates", "traffic"])
def test_an_element_that_is_missing_or_doubled_is_named(tag: str) -> None:
    """C7.2: of two that differ, neither holds; nor of two that are alike."""
    missing = changed(tag, lambda root, child: root.remove(child))
    doubled = changed(tag, lambda root, child: root.append(child))
    stray = doubled.replace("</", f"<{tag}/></", 1)

    with pytest.raises(InvalidMetadataError, match=f"^0 elements <{tag}>"):
        vps_of_domain(domain(missing))
    for read in (lambda xml: vps_of_domain(domain(xml)), parsed_metadata):
        with pytest.raises(InvalidMetadataError, match=f"2 elements <{tag}>"):
            read(doubled)
    with pytest.raises(InvalidMetadataError):
        parsed_metadata(as_libvirt_hands_it_out(stray))


def test_two_vpss_in_one_domain_are_none() -> None:
    """C7.2."""
    with pytest.raises(InvalidMetadataError, match="2 elements <vps>"):
        vps_of_domain(domain(said(GOOD) * 2))


WRONG = {
    "client": [
        "",
        "Acme",
        "acme/web",
        "-acme",
        "acme-",
        "a" * 32,
        "acme\u00e9",
        "acme web",
        "4cme",
    ],
    "name": ["", "WEB", "../web", "web\u0430", "web;drop", "web'"],
    "plan": ["", "KVM 1", "k\u0131m"],
    "ipv4": [
        *("", "203.0.113", "203.0.113.017", "203.0.113.17/24", "3405803793", "0xcb007111"),
        *("::ffff:203.0.113.17", "2001:db8::1", " 203.0.113.17", "\u0662.0.113.17"),
        *SPECIAL,
    ],
    "gateway": ["", "203.0.113", "203.0.113.1/24", "none", "2001:db8::1", *SPECIAL],
    "mac": ["", "02:00:cb:00:71:12", "02-00-cb-00-71-11", "0200cb007111", "ff:ff:ff:ff:ff:ff"],
    "tap": ["", "vps-cb007112", "eth0", "VPS-CB007111", "vps-cb007111 ", "vps-cb0071110"],
    "guaranteed-mbit-s": [
        *("", "0", "-1", "+1", "1.5", "1e3", "0100", " 100", "100 ", "1_000"),
        *("100Mbit", "none", "1000001", "9" * 40, "\u0661", "1001"),  # 1001: above the ceiling
    ],
    "ceiling-mbit-s": ["", "0", "-1", "None", "NONE", "unlimited", "99", "1000001"],
    "throttle-mbit-s": ["", "0", "none", "0.5", "1000001"],
    "bytes-cycle": ["", "0", "-1", "none", "UNLIMITED", "10TB", "1e13", str(2**62 + 1), "9" * 19],
    "cycle-anchor": [
        *("", "2026-02-29", "2026-13-01", "31/01/2026", "2026-01-31T00:00", "yesterday"),
        *("0001-01-01", "9999-12-31", "\u0662026-01-31", "2026-01-3\u0661"),
    ],
    "timezone": [
        *("", "Paris", "Europe", "Europe/", "/etc/localtime", "../Europe/Paris", "UTC\u0000"),
        *("Europe/Paris ", "zone.tab", "a" * 5000, "\ud83d\ude00", "."),
    ],
}


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in WRONG.items() for value in values],
    ids=lambda text: ascii(text[:24])[1:-1],
)
def test_a_fact_that_is_wrong_holds_nothing(name: str, value: str) -> None:
    """C4.3, C7.2: no rounding, no trimming, no guess."""
    xml = re.sub(rf' {name}="[^"]*"', f' {name}="{value}"', said(GOOD))

    for read in (lambda text: vps_of_domain(domain(text)), parsed_metadata):
        with pytest.raises(InvalidMetadataError):
            read(xml)


def test_every_attribute_that_is_read_is_in_the_table_of_wrong_ones() -> None:
    """A fact that the table forgets would be shown by nothing."""
    assert {name for _, name in attributes()} == set(WRONG)


@pytest.mark.parametrize(
    ("mac", "tap", "reason"),
    [
        ("02:00:cb:00:71:12", GOOD.tap, "mac address is '02:00:cb:00:71:12'"),
        ("", GOOD.tap, "mac address is ''"),
        (GOOD.mac, "vps-cb007112", "target dev is 'vps-cb007112'"),
        (GOOD.mac, "VPS-CB007111", "target dev is 'VPS-CB007111'"),
        (GOOD.mac, "vnet0", "and the address makes it vps-cb007111"),
        (GOOD.mac, "", "target dev is ''"),
    ],
)
def test_an_interface_that_is_not_its_addresss_is_refused(mac: str, tap: str, reason: str) -> None:
    """C4.3, C7.2: the wire and the facts agree, or the domain does not start."""
    with pytest.raises(InvalidMetadataError, match=re.escape(reason)):
        vps_of_domain(domain(said(GOOD), mac, tap))


def test_a_mac_is_the_same_in_capitals() -> None:
    """libvirt takes either."""
    assert vps_of_domain(WEB) == vps_of_domain(WEB.replace(GOOD.mac, GOOD.mac.upper()))


@pytest.mark.parametrize("count", [0, 2])
def test_a_vps_has_one_interface(count: int) -> None:
    """C4.3: a second one would be nobody's."""
    found = re.search("<interface.*</interface>", WEB, re.DOTALL)
    assert found is not None

    with pytest.raises(InvalidMetadataError, match=f"{count} interfaces"):
        vps_of_domain(WEB.replace(found[0], found[0] * count))


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        ("", "no XML"),
        ("   \n", "no XML"),
        ("nonsense", "no XML"),
        (WEB[:-10], "no XML"),
        (WEB + "<domain/>", "no XML"),
        ("\ud800" + WEB, "no XML"),
        (WEB.replace("acme.web", "\x00"), "no XML"),
        (WEB.replace("acme.web", "&who;"), "no XML"),
        ("<!DOCTYPE domain>" + WEB, "document type"),
        (
            '<!DOCTYPE d [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]>' + WEB.replace("acme", "&b;"),
            "document type",
        ),
        ('<!DOCTYPE d [<!ENTITY a SYSTEM "file:///etc/passwd">]><d>&a;</d>', "document type"),
        ("<a>" * (MAX_XML_BYTES // 3 + 1), "more than"),
        ("<a>" * (MAX_XML_BYTES // 3), "no XML"),
        (WEB + " " * MAX_XML_BYTES, "more than"),
    ],
    ids=range(14),
)
def test_what_libvirt_never_writes_is_refused(xml: str, reason: str) -> None:
    """C7.2: not even looked at."""
    for read in (vps_of_domain, parsed_metadata):
        with pytest.raises(InvalidMetadataError, match=reason):
            read(xml)


def test_the_deepest_nesting_that_fits_is_no_vps() -> None:
    """A stack that overflows would end the agent without a word."""
    depth = MAX_XML_BYTES // 7

    assert vps_of_domain("<a>" * depth + "</a>" * depth) is None


def examine(xml: str) -> None:
    """A VPS with the wire of its address, none at all, or a refusal; no other end."""
    for read in (vps_of_domain, parsed_metadata):
        try:
            vps = read(xml)
        except InvalidMetadataError:
            continue
        if vps is not None:
            assert re.fullmatch(NAME, vps.client)
            assert re.fullmatch(NAME, vps.name)
            assert 1 <= vps.throttle_mbit_s
            assert 1 <= vps.guaranteed_mbit_s <= (vps.ceiling_mbit_s or 10**6)
            assert vps.traffic_bytes is None or 1 <= vps.traffic_bytes
            root = parsed(xml)
            wired = {
                element.get(name, "").lower()
                for element in root.iter()
                for name in ("mac", "tap", "dev")
                if element.tag.rpartition("}")[2] in {"address", "target", "mac"}
                and name in element.attrib
            }
            assert wired <= {vps.mac, vps.tap}


Edit = tuple[int, int, str]
pieces = st.sampled_from(
    [
        *(
            "",
            "<",
            ">",
            "/",
            '"',
            "&",
            "&amp;",
            "&#0;",
            "&#x41;",
            "<!--",
            "-->",
            "<![CDATA[",
            "]]>",
        ),
        *("<?xml version='1.0' encoding='utf-16'?>", "<!DOCTYPE a>", "<hoster:vps", "vps", "\x00"),
        *("0", "9", "-", "203.0.113.18", "vps-cb007112", "02:00:cb:00:71:12", "unlimited", "none"),
        *("hoster:", "xmlns:hoster='urn:hoster:vps:1'", "<interface>", "</metadata>", "\ud800"),
    ]
) | st.text(max_size=4)
edits = st.lists(
    st.tuples(st.integers(0, len(WEB)), st.integers(0, 30), pieces), min_size=1, max_size=4
)


@settings(max_examples=4 * settings.default.max_examples)
@given(edits)
def test_a_valid_domain_with_random_edits_is_a_vps_nothing_or_refused(made: list[Edit]) -> None:
    """C7.2."""
    xml = WEB
    for start, length, piece in made:
        xml = xml[:start] + piece + xml[start + length :]
    examine(xml)


values = [text for texts in WRONG.values() for text in texts]


@settings(max_examples=4 * settings.default.max_examples)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(WRONG)), st.sampled_from(values) | st.text(max_size=20)),
        min_size=1,
        max_size=3,
    )
)
def test_a_valid_domain_with_random_values_is_a_vps_or_refused(
    made: list[tuple[str, str]],
) -> None:
    """C7.2: every value in every place."""
    xml = WEB
    for name, value in made:
        shown = value.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
        xml = re.sub(rf' {name}="[^"]*"', lambda _, n=name, v=shown: f' {n}="{v}"', xml)
    examine(xml)


@given(st.text())
@example("<a xmlns='urn:hoster:vps:1'/>")
def test_random_text_is_nothing_or_refused(text: str) -> None:
    """C7.2."""
    examine(text)


@given(st.binary(), st.sampled_from(["utf-8", "latin-1", "utf-16-le"]))
def test_random_bytes_are_nothing_or_refused(data: bytes, encoding: str) -> None:
    """C7.2: however they came to be text."""
    examine(data.decode(encoding, errors="surrogateescape" if encoding == "utf-8" else "ignore"))
