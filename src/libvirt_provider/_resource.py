"""What every resource offers to the provider. All methods but the pure ones block."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from libvirt_provider._schema import failures
from libvirt_provider._values import UNKNOWN
from libvirt_provider.errors import RefusedChangeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from libvirt_provider._connection import Host
    from libvirt_provider._schema import Failure, Kind

    Values = dict[str, Any]
    Log = Callable[[str], None]


@dataclass(frozen=True)
class Change:
    """An update: what the state knows, what was declared, and what is declared now.

    ``log`` tells the person who runs Pulumi.
    """

    urn: str
    id: str
    state: Values
    old: Values
    new: Values
    log: Log


@dataclass(frozen=True)
class Found:
    """What is on the host: outputs, and the inputs that would declare it."""

    id: str
    outputs: Values
    inputs: Values


@dataclass
class Resource(ABC):
    """One kind of resource: ``fields`` are its inputs, ``defaults`` those given where left out.

    ``computed`` outputs are known after a create only; ``secret`` keys are always wrapped.
    """

    host: Host
    fields: ClassVar[Mapping[str, Kind]]
    defaults: ClassVar[Mapping[str, Any]] = {}
    computed: ClassVar[Sequence[str]] = ()
    secret: ClassVar[frozenset[str]] = frozenset()

    def checked(
        self, urn: str, seed: bytes, old: Values, new: Values
    ) -> tuple[Values, list[Failure]]:
        """Return *new* with name and defaults, and everything that is wrong with it. Pure."""
        wrong = failures(self.fields, new)
        inputs = {**self.defaults, **{k: v for k, v in new.items() if v is not None}}
        inputs.setdefault("name", old.get("name") or _name_from(urn, seed))
        if not wrong:
            wrong = self.rules(inputs)
        if not wrong and old:
            wrong = self.refusals(old, inputs)
        return inputs, wrong

    def rules(self, inputs: Values) -> list[Failure]:  # noqa: ARG002 - for those that have some
        """Return what is wrong between properties. Pure."""
        return []

    def refusals(self, old: Values, new: Values) -> list[Failure]:  # noqa: ARG002
        """Return the changes that are never made, each with what to do instead. Pure."""
        return []

    def changed(self, old: Values, new: Values) -> list[str]:
        """Return the properties that differ between two sets of inputs. Pure."""
        return sorted(key for key in {**old, **new} if old.get(key) != new.get(key))

    def planned(self, inputs: Values) -> Values:
        """Return the outputs that a preview of a create can tell. Pure."""
        unknown = {key: UNKNOWN for key in self.computed if inputs.get(key) is None}
        return {**inputs, **unknown}

    def planned_update(self, change: Change) -> Values:
        """Return the outputs that an update will have, and log what it will do."""
        kept = {key: change.state[key] for key in self.computed if key in change.state}
        return {**kept, **change.new}

    @abstractmethod
    def create(self, urn: str, inputs: Values) -> tuple[str, Values]:
        """Make it and return id and outputs; a failure leaves nothing behind."""

    @abstractmethod
    def read(self, urn: str, resource_id: str, inputs: Values) -> Found | None:
        """Return what is there, or None where it is gone and may be made anew."""

    @abstractmethod
    def update(self, change: Change) -> Values:
        """Make the change in place and return the outputs."""

    @abstractmethod
    def delete(self, urn: str, resource_id: str, state: Values) -> None:
        """Remove it; nothing to do where it is gone."""


def _name_from(urn: str, seed: bytes) -> str:
    return f"{urn.rpartition('::')[2]}-{hashlib.sha256(seed or urn.encode()).hexdigest()[:7]}"


def differs(old: Values, new: Values, key: str) -> bool:
    """Whether *key* changes for certain; a value that only a real run knows may be the same."""
    before, after = old.get(key), new.get(key)
    return before != after and UNKNOWN not in (before, after)


def refuse(failures_: Sequence[Failure]) -> None:
    """Stop a change that is never made.

    Raises:
        RefusedChangeError: there is a failure; all are told.
    """
    if failures_:
        raise RefusedChangeError("; ".join(f"{it.property}: {it.reason}" for it in failures_))


def drifted(inputs: Values, actual: Mapping[str, Any]) -> Values:
    """Return *inputs* with what is really there, of what was declared or matters."""
    return {**inputs, **{k: v for k, v in actual.items() if v is not None}}
