"""Samples taken in turns, and the table that holds them against what they are to reach."""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Claim:
    """A row that is held to a limit at the largest number of VPSs; *worse* than it is missed."""

    name: str
    by_vps: dict[int, float]
    limit: float | None
    at_most: bool = True
    digits: int = 2

    @property
    def held_to(self) -> str:
        """The limit in words; nothing where the row is for information."""
        if self.limit is None:
            return ""
        return f"{'at most' if self.at_most else 'at least'} {self.limit:.{self.digits}f}"

    @property
    def met(self) -> bool | None:
        """Whether it is met where it is judged; None where it is not judged, or not measured."""
        if self.limit is None or not self.by_vps:
            return None
        value = self.by_vps[max(self.by_vps)]
        return value <= self.limit if self.at_most else value >= self.limit


@dataclass
class Figure:
    """One figure: samples by what was measured and at how many VPSs, in the order of first mention.

    Claims compare samples of the same turn with each other: a ratio holds on a noisy machine, a
    single time does not.
    """

    key: str
    title: str
    digits: int = 1
    claims: list[Claim] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _samples: dict[str, dict[int, list[float]]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """What was measured."""
        return list(self._samples)

    def add(self, what: str, vps: int, value: float) -> None:
        """Take a sample."""
        self._samples.setdefault(what, defaultdict(list))[vps].append(value)

    def samples(self, what: str) -> dict[int, list[float]]:
        """Return the samples of *what* by the number of VPSs."""
        return self._samples.get(what, {})

    def medians(self, what: str) -> dict[int, float]:
        """Return the medians of *what* by the number of VPSs."""
        return {vps: statistics.median(some) for vps, some in self._samples.get(what, {}).items()}

    def ratios(self, what: str, to: str, *, to_vps: int | None = None) -> dict[int, float]:
        """Return the median ratio of the samples of *what* to those of *to* in the same turn."""
        above, below = self._samples.get(what, {}), self._samples.get(to, {})
        return {
            vps: statistics.median(
                one / other for one, other in zip(some, below[to_vps or vps], strict=False)
            )
            for vps, some in above.items()
            if below.get(to_vps or vps)
        }

    def claim(self, name: str, by_vps: dict[int, float], limit: float | None, **terms: Any) -> None:
        """Hold a row to a limit."""
        self.claims.append(Claim(name, by_vps, limit, **terms))

    def print(self, console: Console, counts: Iterable[int]) -> None:
        """Print its table."""
        counts = sorted(counts)
        heads = [f"{count} VPS{'s' if count > 1 else ''}" for count in counts]
        table = Table("", *heads, "held to", "met", title=self.title, box=box.ASCII)
        for column in table.columns[1 : 1 + len(counts)]:
            column.justify = "right"
        for what in self._samples:
            table.add_row(what, *_cells(self.medians(what), counts, self.digits), "", "")
        table.add_section()
        for one in self.claims:
            said = {None: "", True: "yes", False: "NO"}[one.met]
            table.add_row(one.name, *_cells(one.by_vps, counts, one.digits), one.held_to, said)
        console.print(table)
        for note in self.notes:
            console.print(f"  {note}")
        console.print()

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "figure": self.key,
            "title": self.title,
            "medians": {what: self.medians(what) for what in self._samples},
            "samples": self._samples,
            "targets": [
                {"name": one.name, "by_vps": one.by_vps, "held_to": one.held_to, "met": one.met}
                for one in self.claims
            ],
            "notes": self.notes,
        }


def _cells(by_vps: dict[int, float], counts: list[int], digits: int) -> list[str]:
    return [f"{by_vps[count]:,.{digits}f}" if count in by_vps else "-" for count in counts]
