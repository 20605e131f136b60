"""The company's own choices, where the contract leaves one."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from hoster.catalogue.values import Value, zone


class Headroom(Value):
    """How far a running VPS can be plugged up without a reboot (C4.7).

    It stands in each domain's definition: a change costs every running VPS one reboot.
    """

    vcpus: Annotated[int, Field(ge=1, le=240)] = Field(8, description="Most vCPUs.")
    memory_mib: Annotated[int, Field(ge=1024, multiple_of=1024)] = Field(
        32768, description="Most RAM, in MiB."
    )
    memory_slots: Annotated[int, Field(ge=1, le=240)] = Field(
        16, description="How many times RAM can be plugged in until the next reboot."
    )


class IncidentPolicy(Value):
    """What follows a security incident once the client has corrected the problem (C6.2, C15.1)."""

    former_disk_days: Annotated[int, Field(ge=1, le=365)] = Field(
        7,
        description="How long a client can read the disk of its former system, where it asked "
        "for that (C7.5).",
    )
    proof_hours: Annotated[int, Field(ge=72, le=8760)] = Field(
        72,
        description="How long a client has to prove its contact details once it is asked to; the "
        "contract gives it 72 hours (C7.1).",
    )
    recurrence_days: Annotated[int, Field(ge=0, le=3650)] = Field(
        365, description="An earlier incident of the VPS counts for so long."
    )
    after_correction: dict[
        Literal["minor", "serious", "severe"],
        Annotated[tuple[Literal["reconnect", "refuse"], ...], Field(min_length=1)],
    ] = Field(
        {
            "minor": ("reconnect", "reconnect", "refuse"),
            "serious": ("reconnect", "refuse"),
            "severe": ("refuse",),
        },
        description="By severity: what follows the first incident, the second, and so on; the "
        "last entry holds for all that come after it.",
    )

    @model_validator(mode="after")
    def _complete(self) -> IncidentPolicy:
        if missing := {"minor", "serious", "severe"} - self.after_correction.keys():
            raise ValueError(f"after_correction says nothing of {', '.join(sorted(missing))}")
        return self

    @property
    def recurrence(self) -> timedelta:
        """How long an earlier incident counts."""
        return timedelta(days=self.recurrence_days)


class Policy(Value):
    """The company's own choices, where the contract leaves one."""

    address_quarantine_days: Annotated[int, Field(ge=0, le=3650)] = Field(
        30, description="How long a released address rests before a new VPS may get it."
    )
    storage_pool: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")] = Field(
        "vps", description="The libvirt pool of root disks, seeds and base images."
    )
    bridge: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,14}$")] = Field(
        "br-public", description="The location's switch, on each host node."
    )
    timezone: Annotated[str, AfterValidator(zone)] = Field(
        "Europe/Paris", description="Zone of terms, billing cycles and deadlines."
    )
    shutdown_seconds: Annotated[int, Field(ge=0, le=600)] = Field(
        60, description="An orderly shutdown gets this long before a hard one."
    )
    headroom: Headroom = Field(
        Headroom(), description="How far a running VPS can be plugged up without a reboot."
    )
    incidents: IncidentPolicy = Field(
        IncidentPolicy(), description="What follows a security incident."
    )
