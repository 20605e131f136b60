"""Builds the project's wheel once for each content, also where several runs ask at once.

Prints the path of the wheel. Standard library only, and pip with the project's build backend.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

PARTS = ("pyproject.toml", "README.md", "src/hoster", "src/libvirt_provider", "templates")
"""What the wheel is made of; see pyproject.toml."""
KEPT = 20
"""How many contents' wheels are kept."""


def digest(project: Path) -> str:
    """Return a hash of everything that the wheel of *project* is made of."""
    seen = hashlib.sha256()
    tops = [project / part for part in PARTS]
    for path in sorted(file for top in tops for file in (top, *top.rglob("*"))):
        if path.is_file() and path.suffix != ".pyc":
            content = path.read_bytes()
            seen.update(f"{path.relative_to(project)} {len(content)}\n".encode() + content)
    return seen.hexdigest()[:16]


def wheel(project: Path, folder: Path) -> Path:
    """Return the wheel of what *project* is now; build it in *folder* where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / digest(project)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.is_dir():
            with TemporaryDirectory(dir=folder) as place:
                _build(project, Path(place) / "wheel")
                (Path(place) / "wheel").rename(kept)
        kept.touch()
        for old in sorted(folder.glob("*/"), key=lambda one: one.stat().st_mtime)[:-KEPT]:
            shutil.rmtree(old)
    return next(kept.glob("hoster-*.whl"))


def _build(project: Path, into: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "--wheel-dir", str(into)]
    subprocess.run([*pip, "wheel", *options, str(project)], check=True, stdout=sys.stderr)


if __name__ == "__main__":
    sys.stdout.write(f"{wheel(*map(Path, sys.argv[1:]))}\n")
