"""Keeps what takes long to build, for every checkout of this user, keyed by its recipe."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hoster_lab.progress import Progress

FILES = Path(__file__).parent / "files"


def folder() -> Path:
    """Return the cache folder: ``$XDG_CACHE_HOME/hoster``, by default ``~/.cache/hoster``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    made = Path(base) / "hoster"
    made.mkdir(parents=True, exist_ok=True)
    return made


@dataclass(frozen=True)
class Recipe:
    """How a Debian root file system is made: everything that changes what comes out.

    ``name`` is also the folder of ``files/`` that is copied over the new system; after it,
    ``files/<name>.sh`` runs with the new root as its argument.
    """

    name: str
    suite: str
    packages: tuple[str, ...]

    @property
    def overlay(self) -> Path:
        """The files that are copied over the new system."""
        return FILES / self.name

    @property
    def finish(self) -> Path:
        """The script that runs last."""
        return FILES / f"{self.name}.sh"

    def digest(self) -> str:
        """Return a short hash of the recipe, files and script included."""
        seen = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode())
        for path in [self.finish, *sorted(self.overlay.rglob("*"))]:
            if path.is_file():
                seen.update(f"{path.relative_to(FILES)} {path.stat().st_mode:o}\n".encode())
                seen.update(path.read_bytes())
        return seen.hexdigest()[:16]


def kept(recipe: Recipe, said: str, build: Callable[[Path], Path], progress: Progress) -> Path:
    """Return the folder that *recipe* makes, which is kept under its name and digest.

    Where it is missing, *build* makes it in a fresh folder and returns what of it to keep, while
    *progress* tells what is *said*. Nothing is kept of a build that was cut.
    """
    found = folder() / f"{recipe.name}-{recipe.digest()}"

    def build_and_keep(place: Path) -> None:
        with progress.step(said):
            build(place).rename(found)

    build_once(recipe.name, found.is_dir, build_and_keep)
    return found


def build_once(name: str, is_there: Callable[[], bool], build: Callable[[Path], None]) -> None:
    """Have *build* make *name*, in a fresh folder, where it is not there; one builder at a time.

    Who waited for another builder asks again whether it *is_there*.
    """
    if is_there():
        return
    with building(name) as place:
        if not is_there():
            build(place)


@contextmanager
def building(name: str) -> Iterator[Path]:
    """Give a fresh folder to build *name* in, one builder at a time; it is gone afterwards."""
    place = folder() / f".{name}.building"
    with FileLock(folder() / f".{name}.lock"):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)
