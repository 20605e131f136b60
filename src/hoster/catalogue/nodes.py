"""Host nodes and what they can carry (C2.1)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hoster.catalogue.values import Name, Positive, Value


class NodeCapacity(Value):
    """What a host node has, and how far it may be shared (C2.1).

    Disk is never overcommitted; ``memory_factor`` and ``vcpu_factor`` say how many times the
    RAM (less ``reserved_memory_mib``, kept for the host itself) and the CPUs may be sold.
    """

    disk_gib: Positive
    memory_mib: Positive
    memory_factor: Annotated[float, Field(ge=1, le=4)] = 1.0
    reserved_memory_mib: Annotated[int, Field(ge=0)] = 2048
    vcpus: Positive
    vcpu_factor: Annotated[float, Field(ge=1, le=32)] = 4.0
    uplink_mbit_s: Positive


class Node(Value):
    """A host node: where it is, how libvirt on it is reached, what it can carry."""

    name: Name
    location: Name
    libvirt_uri: Annotated[str, Field(pattern=r"^(qemu|test)(\+[a-z]+)?:///?.+")]
    domain_type: Literal["kvm", "qemu"] = "kvm"
    capacity: NodeCapacity
