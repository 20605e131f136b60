"""The floors and rooms of the toolkit, and their picture in docs/.

``python -m hoster.structure CHECKOUT`` draws ``docs/structure.svg`` from what the modules import.
"""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from hoster.project.imports import graph, modules

ABOVE_ALL = ("reference", "structure")
"""Programs that make pages of docs/: nothing imports them."""


@dataclass(frozen=True)
class Floor:
    """What a line of its *rooms*, the folders of ``src/hoster/``, knows."""

    name: str
    rooms: tuple[str, ...]
    knows: str


FLOORS = (
    Floor("faces", ("cli", *ABOVE_ALL), "how it is asked, and how it answers"),
    Floor("acts", ("acts",), "one thing that ops do, from its start to its end"),
    Floor(
        "adapters",
        ("project", "ledger", "mail", "engine", "fleet", "stack", "templates"),
        "one thing outside, each",
    ),
    Floor("node", ("node",), "its host node, and nothing of the control side"),
    Floor(
        "rules",
        ("catalogue", "orders", "changes", "incidents", "clients", "billing"),
        "a subject of the business: values in, values out",
    ),
    Floor("wire", ("wire",), "what the control machine and a node say to each other"),
    Floor("base", ("errors", "problems"), "how something is refused (imported by all)"),
)
"""From top to bottom: a floor imports its own rooms and those below, and a node no adapter."""

_WIDTH, _ROW, _MARGIN, _LABEL = 1160, 118, 24, 190
_BOX_HEIGHT = 54
_COLOURS = ("#8250df", "#0969da", "#1a7f37", "#bf8700", "#cf222e", "#57606a", "#8c959f")
_SVG = "http://www.w3.org/2000/svg"


def room_of(module: str) -> str:
    """Return the room of a module of ours: its folder, or its own name at the top."""
    return module.split(".")[1]


def floor_of(module: str) -> str:
    """Return the name of a module's floor.

    Raises:
        KeyError: its folder is none of the rooms.
    """
    room = room_of(module)
    for floor in FLOORS:
        if room in floor.rooms:
            return floor.name
    raise KeyError(room)


def ways(source: Path) -> set[tuple[str, str]]:
    """Return from which room an import leads to which, for the modules below *source*."""
    known = modules(source)
    return {
        (room_of(module), room_of(other))
        for module, others in graph(known).items()
        if module.startswith("hoster.")
        for other in others
        if other.startswith("hoster.") and room_of(module) != room_of(other)
    }


def picture(source: Path) -> str:
    """Return the SVG of the rooms below *source*: a floor a row, an arrow an import."""
    height = _MARGIN * 2 + _ROW * len(FLOORS)
    svg = ElementTree.Element(
        "svg", xmlns=_SVG, viewBox=f"0 0 {_WIDTH} {height}", role="img", width=str(_WIDTH)
    )
    svg.set("font-family", "system-ui, sans-serif")
    _add(svg, "title", text="The floors and rooms of src/hoster, and what imports what")
    _add(svg, "rect", width="100%", height="100%", fill="#ffffff")
    places = {
        room: _place(row, column, len(floor.rooms))
        for row, floor in enumerate(FLOORS)
        for column, room in enumerate(floor.rooms)
    }
    for row, floor in enumerate(FLOORS):
        _draw_floor(svg, row, floor)
    for start, end in sorted(ways(source)):
        if end in FLOORS[-1].rooms:
            continue  # from everywhere: they would hide all else
        _draw_way(svg, places[start], places[end], f"{start} imports {end}")
    for row, floor in enumerate(FLOORS):
        for room in floor.rooms:
            _draw_room(svg, places[room], room, _about(source, room), _COLOURS[row])
    ElementTree.indent(svg)
    return ElementTree.tostring(svg, encoding="unicode") + "\n"


@dataclass(frozen=True)
class _Place:
    row: int
    left: float
    top: float
    width: float

    @property
    def middle(self) -> float:
        return self.left + self.width / 2


def _place(row: int, column: int, columns: int) -> _Place:
    room = (_WIDTH - _LABEL - _MARGIN) / columns
    width = min(room - 14, 220)
    left = _LABEL + column * room + (room - width) / 2
    return _Place(row, left, _MARGIN + row * _ROW + (_ROW - _BOX_HEIGHT) / 2, width)


def _add(parent: ElementTree.Element, tag: str, *, text: str = "", **attributes: str) -> None:
    named = {name.replace("_", "-"): value for name, value in attributes.items()}
    element = ElementTree.SubElement(parent, tag, named)
    element.text = text or None


def _draw_floor(svg: ElementTree.Element, row: int, floor: Floor) -> None:
    top = _MARGIN + row * _ROW
    shade = "#f6f8fa" if row % 2 == 0 else "#ffffff"
    _add(svg, "rect", y=str(top), width=str(_WIDTH), height=str(_ROW), fill=shade)
    _add(svg, "text", text=floor.name, x="14", y=str(top + 46), font_size="17", font_weight="600")
    for line, words in enumerate(_lines(floor.knows)):
        _add(svg, "text", text=words, x="14", y=str(top + 66 + 14 * line), font_size="11")


def _lines(text: str, most: int = 29) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= most:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _draw_way(svg: ElementTree.Element, start: _Place, end: _Place, title: str) -> None:
    if start.row == end.row:  # beneath the row's boxes
        y = start.top + _BOX_HEIGHT
        bend = f"M{start.middle:.0f},{y:.0f} C{start.middle:.0f},{y + 30:.0f}"
        path = f"{bend} {end.middle:.0f},{y + 30:.0f} {end.middle:.0f},{y:.0f}"
    else:
        first, last = start.top + _BOX_HEIGHT, end.top
        half = (first + last) / 2
        path = f"M{start.middle:.0f},{first:.0f} C{start.middle:.0f},{half:.0f}"
        path += f" {end.middle:.0f},{half:.0f} {end.middle:.0f},{last:.0f}"
    way = ElementTree.SubElement(
        svg, "path", d=path, fill="none", stroke=_COLOURS[start.row], opacity="0.35"
    )
    _add(way, "title", text=title)


def _draw_room(svg: ElementTree.Element, place: _Place, room: str, about: str, colour: str) -> None:
    box = ElementTree.SubElement(svg, "g")
    _add(box, "title", text=about)
    _add(
        box,
        "rect",
        x=f"{place.left:.0f}",
        y=f"{place.top:.0f}",
        width=f"{place.width:.0f}",
        height=str(_BOX_HEIGHT),
        rx="8",
        fill="#ffffff",
        stroke=colour,
        stroke_width="2",
    )
    _add(
        box,
        "text",
        text=room,
        x=f"{place.middle:.0f}",
        y=f"{place.top + _BOX_HEIGHT / 2 + 5:.0f}",
        text_anchor="middle",
        font_size="15",
        font_weight="600",
    )


def _about(source: Path, room: str) -> str:
    """Return the first line of what a room's docstring says."""
    folder = source / "hoster" / room
    path = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    said = ast.get_docstring(ast.parse(path.read_bytes())) or room
    return said.splitlines()[0]


def main() -> None:
    """Draw the picture of the checkout that the command line names."""
    checkout = Path(sys.argv[1])
    picture_file = checkout / "docs" / "structure.svg"
    picture_file.write_text(picture(checkout / "src"), encoding="utf-8")


if __name__ == "__main__":
    main()
