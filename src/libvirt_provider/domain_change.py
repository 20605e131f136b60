"""What a change of a domain costs its guest: nothing, a plug from outside, or a reboot. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from libvirt_provider import _xml

if TYPE_CHECKING:
    from libvirt_provider._resource import Values

DIMM_MIB = 128
"""The block of memory that guests plug: a dimm is a multiple of it."""

QUIET = frozenset({"name", "title", "description", "metadata", "uuid"})
"""What may change in a definition without the guest's seeing it."""


class State(Enum):
    """What a domain does."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Shape:
    """A domain on its host: what it has, and how far it can be plugged up."""

    state: State
    memory_mib: int
    vcpus: int
    max_memory_mib: int = 0
    free_slots: int = 0
    max_vcpus: int = 0
    cells: int = 0

    @classmethod
    def of(cls, root: Any, state: State) -> Shape:
        """Read the shape out of a domain's XML as libvirt gives it."""
        vcpu = root.find("vcpu")
        maximum = root.find("maxMemory")
        dimms = root.findall("devices/memory")
        slots = 0 if maximum is None else int(maximum.get("slots", 0))
        return cls(
            state=state,
            memory_mib=_mib(root.find("memory")),
            vcpus=int(vcpu.get("current", vcpu.text)),
            max_memory_mib=0 if maximum is None else _mib(maximum),
            free_slots=slots - len(dimms),
            max_vcpus=int(vcpu.text),
            cells=len(root.findall("cpu/numa/cell")),
        )


@dataclass(frozen=True)
class Plan:
    """How a redefined domain comes to what its definition says.

    ``dimm_mib`` and ``vcpus`` are plugged live (0: nothing), or it reboots once; ``reasons``
    say it to a person, one line each.
    """

    dimm_mib: int = 0
    vcpus: int = 0
    reboot: bool = False
    reasons: tuple[str, ...] = ()


def plan(actual: Shape, wanted: Values, *, differs: bool) -> Plan:
    """Return how *actual* comes to *wanted* once that is defined.

    ``differs`` says that the two definitions differ in more than size and description.
    """
    memory = _memory(actual, wanted["memory"])
    vcpus = _vcpus(actual, wanted["vcpu"])
    other = _Step(False, "other hardware of its definition changes") if differs else _Step(True, "")
    steps = [step for step in (memory, vcpus, other) if step.text]
    reboot = not all(step.live for step in steps)
    if not steps:
        return Plan()
    if actual.state is State.STOPPED:
        return Plan(reasons=(*_texts(steps), "it is stopped: takes effect when it starts"))
    if actual.state is State.PAUSED and reboot:
        return Plan(reasons=(*_texts(steps), "it is paused: takes effect at its next boot"))
    if reboot:
        return Plan(reboot=True, reasons=(*_texts(steps), "needs one reboot"))
    return Plan(
        dimm_mib=max(0, wanted["memory"] - actual.memory_mib) if memory.text else 0,
        vcpus=wanted["vcpu"] if vcpus.text else 0,
        reasons=tuple(f"{step.text}: live, no reboot" for step in steps),
    )


def same_hardware(before: Any, after: Any) -> bool:
    """Whether two definitions differ in size and description at most."""
    return _xml.canonical(_hardware(before)) == _xml.canonical(_hardware(after))


@dataclass(frozen=True)
class _Step:
    live: bool
    text: str


def _memory(actual: Shape, wanted: int) -> _Step:
    delta = wanted - actual.memory_mib
    if not delta:
        return _Step(True, "")
    text = f"memory {actual.memory_mib} -> {wanted} MiB"
    obstacle = _memory_obstacle(actual, wanted)
    return _Step(False, f"{text} ({obstacle})") if obstacle else _Step(True, text)


def _memory_obstacle(actual: Shape, wanted: int) -> str:
    delta = wanted - actual.memory_mib
    if delta < 0:
        return "memory cannot be taken from a guest"
    if not actual.cells or not actual.max_memory_mib:
        return "no maxMemory with a NUMA cell is declared"
    if wanted > actual.max_memory_mib:
        return f"above its declared maximum of {actual.max_memory_mib} MiB"
    if delta % DIMM_MIB:
        return f"not a multiple of {DIMM_MIB} MiB more"
    return "" if actual.free_slots else "no free memory slot"


def _vcpus(actual: Shape, wanted: int) -> _Step:
    if wanted == actual.vcpus:
        return _Step(True, "")
    text = f"vcpu {actual.vcpus} -> {wanted}"
    if wanted < actual.vcpus:
        return _Step(False, f"{text} (a vCPU cannot be taken from a guest)")
    if wanted > actual.max_vcpus:
        return _Step(False, f"{text} (above its declared maximum of {actual.max_vcpus})")
    return _Step(True, text)


def _texts(steps: list[_Step]) -> list[str]:
    return [step.text for step in steps]


def _hardware(root: Any) -> Any:
    copy = _xml.parse(_xml.text_of(root))
    for child in list(copy):
        if child.tag in QUIET or child.tag in {"memory", "currentMemory"}:
            copy.remove(child)
    vcpu = copy.find("vcpu")
    if vcpu is not None:
        # With a declared maximum only the current count is a size that can be plugged.
        if vcpu.get("current") is None:
            vcpu.text = None
        vcpu.attrib.pop("current", None)
    cells = copy.findall("cpu/numa/cell")
    if len(cells) == 1:
        cells[0].attrib.pop("memory", None)
    return copy


def _mib(element: Any) -> int:
    units = {"b": 1, "bytes": 1, "KiB": 2**10, "k": 2**10, "MiB": 2**20, "GiB": 2**30}
    return int(int(element.text) * units[element.get("unit", "KiB")] / 2**20)
