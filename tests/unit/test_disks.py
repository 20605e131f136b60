"""Which volumes of a pool are a VPS's: those are erased at its end, and no others (C15.2)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoster.catalogue import NAME
from hoster.errors import ToolError
from hoster.orders import disks

NAMES = st.from_regex(NAME, fullmatch=True)
DOMAINS = st.builds("{}.{}".format, NAMES, NAMES)
ENDINGS = st.sampled_from(
    ["", ".", ".qcow2", ".seed.iso", ".qcow2.", ".qcow2.0123456789abcdef.made", ".iso", ".qcow"]
) | st.text(st.characters(exclude_characters="/\n\r", codec="utf-8"), max_size=12)
NUMBERS = st.sampled_from(["", ".2", ".10", ".1", ".007", ".", ".x", ".2.3", "-2", ".\u0663"])
MARK = "0123456789abcdef.made"
OF_ONE = [
    *(disks.volume("acme.web", number) for number in (1, 2, 12)),
    *(disks.seed("acme.web", number) for number in (1, 2, 12)),
    f"{disks.volume('acme.web', 1)}.{MARK}",
    f"{disks.seed('acme.web', 2)}.{MARK}",
]
OF_OTHERS = [
    *("acme.web-2.qcow2", "acme.web2.qcow2", "acme.we.qcow2", "my-acme.web.qcow2"),
    *("acmexweb.qcow2", "acme-web.qcow2", "acme.db.qcow2", "debian-12@20250703.qcow2"),
    *("acme.web", "acme.web.", "acme.web.raw", "acme.web..qcow2", "acme.web.qcow2-old"),
]


def named(domain: str) -> re.Pattern[str]:
    """The rule as the playbook had it until Python named the volumes."""
    return re.compile(rf"^{re.escape(domain)}(\.\d+)?\.(qcow2|seed\.iso)(\..+)?$")


def test_disks_seeds_and_marks_of_every_system_are_a_vpss_and_nothing_else_is() -> None:
    assert OF_ONE == disks.volumes_of("acme.web", OF_OTHERS + OF_ONE)


@given(st.lists(DOMAINS, min_size=2, max_size=2, unique=True), st.data())
def test_of_two_vpss_each_has_its_own_and_no_volume_has_two(
    two: list[str], data: st.DataObject
) -> None:
    """What the playbook's pattern took, and no more."""
    name = st.builds("{}{}{}".format, st.sampled_from(two), NUMBERS, ENDINGS)
    pool = data.draw(st.lists(name, max_size=20))
    first, second = (disks.volumes_of(domain, pool) for domain in two)

    assert [[one for one in pool if named(domain).match(one)] for domain in two] == [first, second]
    assert set() == set(first) & set(second)


@given(NAMES, NAMES, st.integers(2, 10**6))
def test_no_name_of_a_vps_reaches_its_neighbours(client: str, name: str, number: int) -> None:
    """Whatever one is called beside `acme.web`: `acme.web-2`, `acme-web.web`, `acme.webs`."""
    near = [f"{client}.{name}-{number}", f"{client}-{name}.{name}", f"{client}.{name}s",
            f"{client}{name}.{name}"]  # fmt: skip
    pool = [f"{domain}.{end}" for domain in near for end in ("qcow2", f"{number}.qcow2")]

    assert [] == disks.volumes_of(f"{client}.{name}", pool)


@pytest.mark.parametrize("domain", ["", ".", "acme", "acme.", ".web", "acme.web.2", "acme.*", "*"])
def test_what_is_no_domain_of_a_vps_has_no_volumes(domain: str) -> None:
    with pytest.raises(ValueError, match="no domain of a VPS"):
        disks.volumes_of(domain, OF_ONE)


def test_a_listing_is_read_by_name_and_path() -> None:
    """As virsh 9.0 prints it; a volume group's paths are devices."""
    names = ["acme.web.2.qcow2.0123456789abcdef.filling", "acme.web.qcow2", "acme.web.qcow2 copy"]
    lines = [f" {name:<41}   /default-pool/{name}" for name in names]

    assert names == disks.listed(lines)
    assert names[:2] == disks.volumes_of("acme.web", disks.listed(lines))
    assert ["acme.web.2.qcow2"] == disks.listed([" acme.web.2.qcow2   /dev/vps/acme.web.2.qcow2"])
    assert [] == disks.listed([""])


@pytest.mark.parametrize(
    "line",
    [
        " Name   Path",
        "-------------",
        "error: failed to get pool 'vps'",
        " acme.web.qcow2",
        " /var/lib/libvirt/images/vps/acme.web.qcow2",
        " acme.web.qcow2   /var/lib/libvirt/images/vps/acme.web-2.qcow2",
        " acme.web.qcow2 x  /var/lib/libvirt/images/vps/acme.web.qcow2",
    ],
)
def test_a_line_that_is_no_volume_is_refused(line: str) -> None:
    with pytest.raises(ToolError, match="no volume and its path"):
        disks.listed([" acme.web.qcow2  /pool/acme.web.qcow2", line])
