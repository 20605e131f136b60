"""Which VPSs an act is for: those that are named, or those of a host node or an image."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator

from hoster.errors import ConfigurationError
from hoster.problems import near
from hoster.project import declarations

if TYPE_CHECKING:
    from hoster.catalogue import Catalogue
    from hoster.orders.declarations import Declarations, VpsDeclaration
    from hoster.project import Project


def split(names: object) -> tuple[str, ...]:
    """Return the names in *names*, each once: ``a,b``, or several such; nothing for none.

    Raises:
        ConfigurationError: there is a text, and no name in it. It must not pass for none: an empty
            ``vps`` beside a host node would mean all that run there. Or it is no text at all, as
            where YAML reads ``yes`` or ``7``.
    """
    given = names if isinstance(names, list | tuple) else () if names is None else (names,)
    texts = [text for text in given if isinstance(text, str)]
    if len(texts) < len(given):
        raise ConfigurationError(
            f"{names!r} is no name",
            remedy="Put it between quotes: a name is a text, as acme/web is.",
        )
    found = tuple(dict.fromkeys(name for text in texts for name in text.split(",") if name))
    if texts and not found:
        raise ConfigurationError(
            f"«{','.join(texts)}» names nothing",
            remedy="Leave it out, or name VPSs, as in acme/web, nodes or images.",
        )
    return found


Names = Annotated[tuple[str, ...], BeforeValidator(split)]
"""Names as people and playbooks write them: a list, or text with commas."""


@dataclass(frozen=True)
class Chosen:
    """The VPSs of an act, each with its host node; ``by_name`` where each was named."""

    node_of: Mapping[str, str]
    by_name: bool


def choose(
    declared: Declarations,
    catalogue: Catalogue | None,
    *,
    vps: Names = (),
    node: Names = (),
    image: Names = (),
) -> Chosen:
    """Return the declared VPSs that are meant: each of the three narrows the others.

    *catalogue* is needed where nodes or images are named.

    Raises:
        ConfigurationError: nothing is named at all, a VPS is not declared, or a node or image is
            unknown; near names are told.
    """
    if not (vps or node or image):
        raise ConfigurationError("name VPSs, as in acme/web, or choose them by node or image")
    found = declared.named(vps) if vps else list(declared)
    if catalogue is not None:
        require_known("host node", node, catalogue.nodes, " is declared")
        require_known("image", image, catalogue.images, " is declared")
    node_of = {
        one.full_name: one.node
        for one in found
        if (not node or one.node in node) and (not image or one.image_name in image)
    }
    return Chosen(node_of, by_name=not (node or image))


def named_now(project: Project, name: str) -> VpsDeclaration:
    """Return the declaration of the VPS *name* as it stands now: only its client's file is read.

    Raises:
        ConfigurationError: there is none; near names are told.
    """
    file = project.declaration(name.partition("/")[0])
    for vps in declarations.read(file).vps if file.exists() else ():
        if vps.full_name == name:
            return vps
    [found] = declarations.read_all(project).named([name])
    return found


def require_known(
    what: str, wanted: Iterable[str], known: Collection[str], where: str = ""
) -> None:
    """See that all *wanted* names are *known*.

    Raises:
        ConfigurationError: one is not; near names are told.
    """
    for name in wanted:
        if name not in known:
            raise ConfigurationError(f"no {what} {name}{where}{near(name, known)}")
