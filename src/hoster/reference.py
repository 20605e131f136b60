"""Reference pages of docs/, made from the code: ``python -m hoster.reference CHECKOUT``."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from hoster import catalogue
from hoster.catalogue import Value

if TYPE_CHECKING:
    from collections.abc import Iterable

_MADE = "<!-- Made by `python -m hoster.reference .`: changes are overwritten. -->"
_MODELS = (
    ("policy", catalogue.Policy),
    ("policy.headroom", catalogue.Headroom),
    ("network", catalogue.NetworkPolicy),
    ("network.refused_ports[]", catalogue.RefusedPorts),
    ("network.limits", catalogue.RateLimits),
    ("network.limits.*", catalogue.RateLimit),
)


def pages(checkout: Path) -> dict[str, str]:
    """Return the text of each page by its name in docs/."""
    return {"policy.md": _policy(checkout), "roles.md": _roles(checkout)}


def _policy(checkout: Path) -> str:
    variables = checkout / "inventory" / "group_vars" / "all"
    network = yaml.safe_load((variables / "network.yml").read_text())["network"]
    parts = [
        "# The policy, key by key",
        _MADE,
        "What `inventory/group_vars/all/policy.yml` and `network.yml` may say. What they mean for\n"
        "packets is told in [packet-filter.md](packet-filter.md).",
        *(_model(path, model) for path, model in _MODELS),
        "## Ports refused as shipped",
        _table(
            ("name", "which packets", "ports", "where", "why"),
            (
                (
                    one["name"],
                    f"{one['protocol'].upper()} {_way(one)}",
                    ", ".join(map(str, one["ports"])),
                    one["refused_in"]
                    if isinstance(one["refused_in"], str)
                    else ", ".join(one["refused_in"]) or "nowhere",
                    one["reason"],
                )
                for one in network["refused_ports"]
            ),
        ),
        "## Limits of each VPS as shipped",
        _table(
            ("protocol", "packets a second", "at once", "bytes a second"),
            (
                (name, one["packets_s"], one["burst_packets"], one["bytes_s"])
                for name, one in network["limits"].items()
            ),
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _way(one: dict[str, Any]) -> str:
    return f"{'towards' if one['direction'] == 'in' else 'from'} VPSs, {one['end']} port"


def _model(path: str, model: type[Value]) -> str:
    schema = model.model_json_schema()
    rows = (
        (f"`{name}`", field.get("description", ""), _allowed(field), _default(field))
        for name, field in schema["properties"].items()
    )
    about = (model.__doc__ or "").strip().splitlines()[0]
    table = _table(("key", "what", "allowed", "default"), rows)
    return f"## {path}\n\n{about}\n\n{table}"


def _allowed(field: dict[str, Any]) -> str:
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    bounds = {"minimum": "from {}", "exclusiveMinimum": "above {}", "maximum": "to {}"}
    bounds |= {"pattern": "as `{}`", "multipleOf": "a multiple of {}"}
    said = [bounds[key].format(field[key]) for key in bounds if key in field]
    return ", ".join(said).replace("|", "\\|")


def _default(field: dict[str, Any]) -> str:
    return "" if isinstance(field.get("default"), dict) else str(field.get("default", ""))


def _roles(checkout: Path) -> str:
    parts = [
        "# The roles, option by option",
        _MADE,
        "`playbooks/configure-nodes.yml` runs them in this order on every host node, with what\n"
        "`inventory/` says.",
    ]
    for name in ("host_node", "packet_filter", "bandwidth", "node_agent"):
        file = checkout / "roles" / name / "meta" / "argument_specs.yml"
        spec = yaml.safe_load(file.read_text())["argument_specs"]["main"]
        rows = (
            (
                f"`{option}`",
                about["type"],
                _text(about["description"]),
                f"`{about.get('default')}`" if not isinstance(about.get("default"), dict) else "",
            )
            for option, about in spec["options"].items()
        )
        parts += [f"## {name}", _text(spec["description"])]
        parts += [_table(("option", "type", "what", "default"), rows)]
    return "\n\n".join(parts) + "\n"


def _text(description: str | list[str]) -> str:
    joined = description if isinstance(description, str) else " ".join(description)
    return re.sub(r"C\(([^)]*)\)", r"`\1`", joined)


def _table(head: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def main() -> None:
    """Write the pages of the checkout that the command line names."""
    checkout = Path(sys.argv[1])
    for name, text in pages(checkout).items():
        (checkout / "docs" / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
