"""What the packet filter's file says of refused ports: where they hold, and rows ready to print."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hoster.catalogue.network import RefusedPorts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_WAYS = {"out": "from", "in": "to"}
_FIELDS = {"to": "dport", "from": "sport"}
_ALWAYS: dict[tuple[str, str], list[int | str]] = {("udp_from_vps", "from"): [67]}
"""By chain and end, what is refused by no policy: nobody behind a tap is a DHCP server (C7.2)."""


def refused_at(location: str, entries: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return those *entries* of ``network.refused_ports`` that hold in *location*, in order (C4.5).

    They are taken as they stand: `hoster check` validates them, and what a kernel refuses it
    refuses on each node by itself, with the line.
    """
    return [entry for entry in entries if _as_it_stands(entry).holds_in(location)]


def rules(entries: Iterable[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of the packet filter for *entries*, by its chain (C4.5, C7.6).

    A chain is named ``tcp_from_vps``, ``udp_to_vps`` and so on, and has at most a row for the
    packets ``to`` ports and one for those ``from`` ports: the ``field`` to look at (``dport``,
    ``sport``), the ``ports``, each once and as they are written, and an entry's name and reason
    as ``comments``. Where an entry holds is not asked: these do.
    """
    refused = [_as_it_stands(entry) for entry in entries]
    return {
        chain: [
            row
            for end in _FIELDS
            if (row := _row(chain, end, [one for one in refused if _is_in(one, chain, end)]))
        ]
        for protocol in ("tcp", "udp")
        for chain in (f"{protocol}_{way}_vps" for way in _WAYS.values())
    }


def _as_it_stands(entry: Mapping[str, Any]) -> RefusedPorts:
    return RefusedPorts.model_construct(**entry)


def _is_in(refused: RefusedPorts, chain: str, end: str) -> bool:
    return (f"{refused.protocol}_{_WAYS[refused.direction]}_vps", refused.end) == (chain, end)


def _row(chain: str, end: str, refused: list[RefusedPorts]) -> dict[str, Any] | None:
    ports = _ALWAYS.get((chain, end), []) + [port for one in refused for port in one.ports]
    if not ports:
        return None
    return {
        "field": _FIELDS[end],
        "ports": list(dict.fromkeys(ports)),
        "comments": [f"{one.name}: {one.reason}" for one in refused],
    }
