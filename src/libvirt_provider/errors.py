"""What can go wrong on a host, as classes: each message tells a person what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self


class ProviderError(Exception):
    """An operation that could not be done; the message says what is wrong and what to do."""


class UnreachableHostError(ProviderError):
    """No connection to the host within the time allowed. Nothing was done."""


class AlreadyExistsError(ProviderError):
    """A thing of that name is on the host and is not this resource's: never taken over."""

    @classmethod
    def of(cls, place: str, thing: str, importable: str = "") -> Self:
        """Say that *place* has a *thing*; ``importable``: what `pulumi import` takes it in by."""
        way = f", or take it in with `pulumi import {importable}`" if importable else ""
        return cls(
            f"{place} has a {thing} already, and this resource did not make it: "
            f"choose another name{way}"
        )


class MissingError(ProviderError):
    """The state knows a thing that is not on the host, and that is never silently made anew."""


class RefusedChangeError(ProviderError):
    """A change that would cost somebody's data or identity."""


class InUseError(ProviderError):
    """Something that a domain still uses cannot be deleted."""


class PartlyDoneError(ProviderError):
    """An update that failed half-way; ``outputs`` say what is there now."""

    def __init__(self, message: str, outputs: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.outputs = outputs
