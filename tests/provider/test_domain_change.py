"""Live, or a reboot: one table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from libvirt_provider import _xml
from libvirt_provider.domain_change import Plan, Shape, State, plan, same_hardware

ROOM = Shape(
    State.RUNNING,
    memory_mib=1024,
    vcpus=1,
    max_memory_mib=8192,
    free_slots=2,
    max_vcpus=4,
    cells=1,
)
PLAIN = Shape(State.RUNNING, memory_mib=1024, vcpus=1, max_vcpus=1)


@pytest.mark.parametrize(
    ("shape", "memory", "vcpu", "dimm", "vcpus", "reboot", "text"),
    [
        (ROOM, 1024, 1, 0, 0, False, ""),
        (ROOM, 2048, 1, 1024, 0, False, "memory 1024 -> 2048 MiB: live, no reboot"),
        (ROOM, 1024, 4, 0, 4, False, "vcpu 1 -> 4: live, no reboot"),
        (ROOM, 2048, 2, 1024, 2, False, "vcpu 1 -> 2: live, no reboot"),
        (ROOM, 8192, 1, 7168, 0, False, "live"),
        (ROOM, 8320, 1, 0, 0, True, "above its declared maximum of 8192 MiB"),
        (ROOM, 1100, 1, 0, 0, True, "not a multiple of 128 MiB"),
        (ROOM, 512, 1, 0, 0, True, "memory cannot be taken from a guest"),
        (ROOM, 1024, 5, 0, 0, True, "above its declared maximum of 4"),
        (replace(ROOM, vcpus=2), 1024, 1, 0, 0, True, "a vCPU cannot be taken"),
        (replace(ROOM, free_slots=0), 2048, 1, 0, 0, True, "no free memory slot"),
        (PLAIN, 2048, 1, 0, 0, True, "no maxMemory with a NUMA cell"),
        (ROOM, 2048, 5, 0, 0, True, "needs one reboot"),
        (replace(ROOM, state=State.STOPPED), 512, 2, 0, 0, False, "when it starts"),
        (replace(ROOM, state=State.PAUSED), 512, 1, 0, 0, False, "at its next boot"),
        (replace(ROOM, state=State.PAUSED), 2048, 1, 1024, 0, False, "live"),
    ],
)
def test_what_a_resize_costs(
    shape: Shape, memory: int, vcpu: int, dimm: int, vcpus: int, reboot: bool, text: str
) -> None:
    decided = plan(shape, {"memory": memory, "vcpu": vcpu}, differs=False)

    assert (dimm, vcpus, reboot) == (decided.dimm_mib, decided.vcpus, decided.reboot)
    assert text in "\n".join(decided.reasons)


def test_other_hardware_needs_a_reboot() -> None:
    assert plan(ROOM, {"memory": 1024, "vcpu": 1}, differs=True).reboot


def test_nothing_to_do_is_nothing_to_say() -> None:
    assert Plan() == plan(PLAIN, {"memory": 1024, "vcpu": 1}, differs=False)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"memory": "2048"}, True),
        ({"current": "2"}, True),
        ({"description": "other"}, True),
        ({"maximum": "8"}, False),
        ({"bridge": "other"}, False),
    ],
)
def test_size_and_description_are_no_other_hardware(change: dict[str, Any], same: bool) -> None:
    assert same == same_hardware(_domain(), _domain(**change))


def test_a_shape_is_read_from_libvirts_xml() -> None:
    root = _xml.parse(
        """<domain><maxMemory slots="8" unit="KiB">4194304</maxMemory>
        <memory unit="KiB">524288</memory><vcpu current="2">4</vcpu>
        <cpu><numa><cell memory="262144"/></numa></cpu>
        <devices><memory model="dimm"/></devices></domain>"""
    )

    expected = Shape(State.RUNNING, 512, 2, max_memory_mib=4096, free_slots=7, max_vcpus=4, cells=1)
    assert expected == Shape.of(root, State.RUNNING)


def _domain(
    memory: str = "1024",
    current: str = "1",
    maximum: str = "4",
    description: str = "d",
    bridge: str = "b",
) -> Any:
    return _xml.parse(
        f"""<domain><name>a</name><description>{description}</description>
        <memory unit="MiB">{memory}</memory><vcpu current="{current}">{maximum}</vcpu>
        <cpu><numa><cell id="0" memory="{memory}" unit="MiB"/></numa></cpu>
        <devices><interface><source bridge="{bridge}"/></interface></devices></domain>"""
    )
