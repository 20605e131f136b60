"""Where a hosting company keeps its files: one folder with ``inventory/`` and ``pulumi/``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from hoster.errors import ConfigurationError

ENVIRONMENT_VARIABLE = "HOSTER_PROJECT"
ENDED_VARIABLE = "HOSTER_ENDED"
"""In which an act tells the Pulumi program of VPSs whose termination is on record."""


@dataclass(frozen=True)
class Project:
    """A company's folder.

    What it has and sells (``inventory/``), what is ordered (``pulumi/Pulumi.<client>.yaml``)
    and, unless ``HOSTER_LEDGER`` names a database, the ledger (``.hoster/ledger.sqlite3``).
    """

    root: Path

    @classmethod
    def find(cls, root: Path | None = None) -> Project:
        """Return the project at *root*, ``$HOSTER_PROJECT`` or the nearest parent of here.

        Raises:
            ConfigurationError: there is none.
        """
        named = root or (
            Path(os.environ[ENVIRONMENT_VARIABLE]) if ENVIRONMENT_VARIABLE in os.environ else None
        )
        for folder in [named] if named else [Path.cwd(), *Path.cwd().parents]:
            if (folder / "pulumi" / "Pulumi.yaml").is_file() and (folder / "inventory").is_dir():
                return cls(folder.resolve())
        raise ConfigurationError(
            f"no hoster project at {named or Path.cwd()}: "
            "it is a folder with inventory/ and pulumi/Pulumi.yaml",
            remedy=f"Go to one, or name it with --project or {ENVIRONMENT_VARIABLE}.",
        )

    @property
    def inventory(self) -> Path:
        """The folder of what the company has and sells."""
        return self.root / "inventory"

    @property
    def program(self) -> Path:
        """The Pulumi program's folder, which holds the declarations too."""
        return self.root / "pulumi"

    def declaration(self, client: str) -> Path:
        """The file that says what *client* has ordered."""
        return self.program / f"Pulumi.{client}.yaml"

    @property
    def state(self) -> Path:
        """The folder of what is neither in Git nor on a node: the default ledger, locks."""
        return self.root / ".hoster"

    @property
    def ledger_url(self) -> str:
        """SQLAlchemy URL of the ledger."""
        return os.environ.get("HOSTER_LEDGER", f"sqlite:///{self.state / 'ledger.sqlite3'}")

    @property
    def has_no_ledger(self) -> bool:
        """Whether nothing was ever recorded here: a pipeline's checkout, for one."""
        return "HOSTER_LEDGER" not in os.environ and not (self.state / "ledger.sqlite3").exists()
