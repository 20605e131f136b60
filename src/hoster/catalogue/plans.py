"""Plans: the predefined models that a client can rent (C4.1)."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, model_validator

from hoster.catalogue.values import Positive, Value

TRAFFIC_BYTES = 10**13
"""10 TB a billing cycle, decimal (C4.9)."""


class Plan(Value):
    """A predefined model that a client can rent (C4.1).

    Sizes in MiB and GiB, rates in Mbit/s (10^6 bit), traffic in bytes a billing cycle.
    """

    range: Literal["kvm", "container"]
    title: str
    vcpus: Positive
    memory_mib: Annotated[int, Field(ge=128, multiple_of=128)]
    disk_gib: Positive
    price_eur_month: Annotated[Decimal, Field(ge=0, decimal_places=2)]
    guaranteed_mbit_s: Positive = 100
    ceiling_mbit_s: Positive | None = None
    traffic_bytes_month: Positive | Literal["unlimited"] = TRAFFIC_BYTES
    throttle_mbit_s: Positive = 1

    @property
    def traffic_bytes(self) -> int | None:
        """Outbound bytes a billing cycle; None for unlimited (C4.9)."""
        return None if self.traffic_bytes_month == "unlimited" else self.traffic_bytes_month

    @model_validator(mode="after")
    def _rates_in_order(self) -> Plan:
        if self.throttle_mbit_s > self.guaranteed_mbit_s:
            raise ValueError("throttle_mbit_s is above guaranteed_mbit_s: the quota would speed up")
        if self.ceiling_mbit_s is not None and self.ceiling_mbit_s < self.guaranteed_mbit_s:
            raise ValueError("ceiling_mbit_s is below guaranteed_mbit_s: it could not be kept")
        return self
