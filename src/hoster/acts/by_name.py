"""The acts by name, for those who call them with words and values: playbooks, later an API.

An act's parameters say how: what comes by position is handed in (project, catalogue, ledger,
clock, the chosen VPSs), what comes by keyword are its arguments, each with its type.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from hoster.acts import announce, measures, proofs, reinstall, terminate
from hoster.acts.choice import Names, choose
from hoster.errors import ConfigurationError
from hoster.ledger import Ledger
from hoster.problems import near, problems_of
from hoster.project.declarations import read_all
from hoster.project.inventory import load_catalogue

if TYPE_CHECKING:
    from hoster.acts.choice import Chosen
    from hoster.acts.reply import Clock, Reply
    from hoster.catalogue import Catalogue
    from hoster.project import Project

Act = Callable[..., "Reply"]

ACTS: dict[str, Act] = {
    "quarantine": measures.quarantine,
    "reconnect": measures.reconnect,
    "suspend": measures.suspend,
    "resume": measures.resume,
    "proofs": proofs.enforce,
    "summary": measures.summary,
    "done": measures.confirm,
    "reinstall": reinstall.reinstall,
    "give-up": reinstall.give_up,
    "seen": reinstall.seen,
    "reinstalled": reinstall.hand_over,
    "erase": reinstall.erase,
    "terminate": terminate.terminate,
    "remove": terminate.remove,
    "terminated": terminate.terminated,
    "announce-maintenance": announce.maintenance,
    "announce-update": announce.update,
}
"""As `hoster act` and `hoster announce` call them."""

_DRY_RUN = "dry_run"
_CHOICE: dict[str, Any] = {"vps": (Names, ()), "node": (Names, ()), "image": (Names, ())}
_HANDED_IN = ("Project", "Catalogue", "Ledger", "Clock", "Chosen")


def perform(
    name: str, given: dict[str, Any], project: Project, clock: Clock, *, dry_run: bool = False
) -> Reply:
    """Do the act *name* with the arguments *given*, and return what it says.

    Raises:
        ConfigurationError: there is no such act, it knows no dry run, or an argument is unknown,
            missing, or not of its type.
        HosterError: it was refused or failed.
    """
    if name not in ACTS:
        raise ConfigurationError(f"no such act as {name}{near(name, ACTS)}")
    act = ACTS[name]
    if dry_run and _DRY_RUN not in _arguments(act):
        raise ConfigurationError(f"{name} knows no dry run: it cannot be tried in check mode")
    arguments = _checked(name, act, given, project)
    if dry_run:
        arguments[_DRY_RUN] = True
    handed = _positional(act)
    choice = {key: arguments.pop(key, ()) for key in _CHOICE} if "chosen" in handed else {}
    with ExitStack() as opened:
        hands = _Hands(project, clock, choice, opened)
        return act(*(getattr(hands, one) for one in handed), **arguments)


def _checked(name: str, act: Act, given: dict[str, Any], project: Project) -> dict[str, Any]:
    """Return the arguments, each as the act takes it."""
    model = _model(act)
    try:
        checked = model.model_validate(given)
    except ValidationError as error:
        found = problems_of(project.root, (), error, list(model.model_fields))
        reasons = "; ".join(f"{problem.key or 'arguments'}: {problem.text}" for problem in found)
        raise ConfigurationError(f"{name}: {reasons}") from None
    return {field: getattr(checked, field) for field in checked.model_fields_set}


@cache
def _model(act: Act) -> type[BaseModel]:
    """Return what checks an act's arguments: made of its own keyword parameters."""
    hints = get_type_hints(act, localns=dict.fromkeys(_HANDED_IN, object), include_extras=True)
    fields: dict[str, Any] = {
        one.name: (hints[one.name], ... if one.default is one.empty else one.default)
        for one in _arguments(act).values()
        if one.name != _DRY_RUN
    }
    if "chosen" in _positional(act):
        fields |= _CHOICE
    return create_model(act.__name__, __config__=ConfigDict(extra="forbid"), **fields)


def _arguments(act: Act) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(act).parameters
    return {name: one for name, one in parameters.items() if one.kind is one.KEYWORD_ONLY}


def _positional(act: Act) -> list[str]:
    parameters = inspect.signature(act).parameters
    return [name for name, one in parameters.items() if one.kind is one.POSITIONAL_OR_KEYWORD]


class _Hands:
    """What one act is handed, under its parameters' names, each made when it asks for it."""

    def __init__(self, project: Project, clock: Clock, choice: dict[str, Any], opened: ExitStack):
        self.project, self.clock = project, clock
        self._choice, self._opened = choice, opened

    @cached_property
    def catalogue(self) -> Catalogue:
        return load_catalogue(self.project.inventory)

    @cached_property
    def ledger(self) -> Ledger:
        return self._opened.enter_context(Ledger.open(self.project.ledger_url))

    @cached_property
    def chosen(self) -> Chosen:
        needed = self._choice.get("node") or self._choice.get("image")
        catalogue = self.catalogue if needed else None
        return choose(read_all(self.project), catalogue, **self._choice)
