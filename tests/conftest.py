"""A ledger on each database that it can live in, a real mail server, certificates for TLS."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pytest
from aiosmtpd.controller import Controller
from hypothesis import HealthCheck, settings

from hoster.catalogue import Company, Smtp
from hoster.clients.contact import Client, client_of
from hoster.ledger import Ledger
from hoster.orders import access

# A busy machine is no failure, and the examples are the same each time; `scripts/test --long` tries
# others, and many of them. A test with more or fewer than most says how many times as many.
_PROFILE: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("usual", max_examples=50, derandomize=True, **_PROFILE)
settings.register_profile("long", max_examples=5000, **_PROFILE)
settings.load_profile("usual")

NOW = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
ADA = {
    "name": "acme",
    "last_name": "Martin",
    "first_name": "Ada",
    "street": "1 rue de l'Exemple",
    "postal_code": "75010",
    "city": "Paris",
    "country": "FR",
    "phone": "01 99 00 12 34",
    "email": "ada@client.example",
}


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def details() -> dict[str, Any]:
    """What a client is asked for, valid."""
    return dict(ADA)


@pytest.fixture
def ada(details: dict[str, Any]) -> Client:
    return client_of(details)


@pytest.fixture(scope="session")
def installed_once(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PYTHONPATH with a pip that repeats what the real one says is installed.

    Pulumi asks before each run of a program, and pip takes as long for that as all the rest does.
    """
    folder = tmp_path_factory.mktemp("pip")
    asked = ["list", "-v", "--format", "json"]
    said = subprocess.run(
        [sys.executable, "-m", "pip", *asked], check=True, capture_output=True, text=True
    ).stdout
    (folder / "pip").mkdir()
    (folder / "pip" / "__init__.py").touch()
    (folder / "pip" / "__main__.py").write_text(
        f"""
import runpy, sys
if sys.argv[1:] == {asked!r}:
    sys.exit(print({said!r}))
sys.path.remove({str(folder)!r})
sys.modules.pop("pip", None)
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""
    )
    return ":".join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))


class Postgresql:
    """A PostgreSQL server of the tests' own, on a Unix socket; no port, nobody else's data.

    A child like any other, no daemon: it ends with the tests, however they end.
    """

    # The server refuses to run as root.
    USER: ClassVar[dict[str, Any]] = (
        {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    )

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names = (f"ledger_{number}" for number in itertools.count())

    def start(self) -> None:
        data = ["-D", str(self.folder / "data")]
        cluster = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
        if self._run("initdb", *data, *cluster).wait():
            pytest.fail((self.folder / "log").read_text())
        options = ["-c", "listen_addresses=", "-c", "fsync=off", "-k", str(self.folder)]
        self._server = self._run("postgres", *data, *options)
        while self._server.poll() is None:
            with suppress(psycopg.OperationalError):
                return self._do("SELECT 1")
            time.sleep(0.05)
        pytest.fail((self.folder / "log").read_text())

    def stop(self) -> None:
        self._server.send_signal(signal.SIGQUIT)
        self._server.wait()

    @contextmanager
    def database(self, template: str = "template1") -> Iterator[str]:
        """Make a database, a copy of another one; give its URL, and drop it in the end."""
        name = next(self._names)
        self._do(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield f"postgresql://postgres@/{name}?host={self.folder}"
        self._do(f"DROP DATABASE {name} WITH (FORCE)")

    @cached_property
    def empty_ledger(self) -> str:
        """The name of a database with a ledger that holds nothing, to be copied."""
        self._do("CREATE DATABASE empty_ledger")
        with Ledger.open(f"postgresql://postgres@/empty_ledger?host={self.folder}"):
            return "empty_ledger"

    def _do(self, statement: str) -> None:
        place = f"host={self.folder} user=postgres dbname=postgres"
        with closing(psycopg.connect(place, autocommit=True)) as connection:
            connection.execute(statement.encode())

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
        if not found:
            pytest.fail("PostgreSQL's server is not installed: scripts/setup --for test")
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [found[-1], *arguments], stdout=log, stderr=log, cwd=self.folder, **self.USER
            )


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgresql]:
    # Not pytest's folder: the server's user may not enter that one.
    folder = Path(tempfile.mkdtemp(prefix="hoster-postgresql-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        server = Postgresql(folder)
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with a ledger that holds nothing: a copy is there sooner than a new one."""
    file = tmp_path_factory.mktemp("ledger") / "empty.sqlite3"
    with Ledger.open(f"sqlite:///{file}"):
        return file


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database: every test that takes it runs on both kinds."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'ledger' / 'ledger.sqlite3'}"
        return
    server: Postgresql = request.getfixturevalue("postgresql")
    with server.database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path, empty_ledger: Path) -> Iterator[str]:
    """The URL of a ledger that holds nothing: every test that takes it runs on both kinds."""
    if request.param == "sqlite":
        file = tmp_path / "ledger" / "ledger.sqlite3"
        file.parent.mkdir()
        yield f"sqlite:///{shutil.copy(empty_ledger, file)}"
        return
    server: Postgresql = request.getfixturevalue("postgresql")
    with server.database(server.empty_ledger) as url:
        yield url


@pytest.fixture
def ledger(ledger_url: str, ada: Client) -> Iterator[Ledger]:
    """A ledger that knows the client acme."""
    with Ledger.open(ledger_url) as opened:
        opened.clients.add(ada, NOW)
        yield opened


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash initial passwords quickly; how it is really done is shown where they are made."""
    monkeypatch.setattr(access, "_HASH_ROUNDS", 1000)


class CertificateAuthority:
    """Signs certificates for the tests' own servers; nobody trusts it unless told to."""

    _EXTENSIONS = """
        [req]
        distinguished_name = name
        [name]
        [authority]
        basicConstraints = critical, CA:TRUE
        keyUsage = critical, keyCertSign
        subjectKeyIdentifier = hash
        [server]
        basicConstraints = critical, CA:FALSE
        keyUsage = critical, digitalSignature
        extendedKeyUsage = serverAuth
        subjectKeyIdentifier = hash
        authorityKeyIdentifier = keyid
        subjectAltName = $ENV::NAME
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "openssl.cnf").write_text(self._EXTENSIONS)
        self.certificate = self._sign("authority", "authority", "DNS:authority.invalid")

    def server_context(self, name: str = "IP:127.0.0.1") -> ssl.SSLContext:
        """Return what a server needs to be *name*, as subjectAltName writes it."""
        stem = name.replace(":", "-")
        signed = self._sign(stem, "server", name, "-CA", "authority.pem", "-CAkey", "authority.key")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(signed, signed.with_suffix(".key"))
        return context

    def _sign(self, stem: str, extensions: str, name: str, *signer: str) -> Path:
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"]
        about = ["-config", "openssl.cnf", "-extensions", extensions]
        subject = ["-subj", f"/CN={self._folder.name} {stem}"]
        out = ["-days", "2", "-keyout", f"{stem}.key", "-out", f"{stem}.pem"]
        subprocess.run(
            ["openssl", "req", "-x509", *key, *about, *subject, *out, *signer],
            cwd=self._folder,
            env=os.environ | {"NAME": name},
            check=True,
            capture_output=True,
        )
        return self._folder / f"{stem}.pem"


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority(tmp_path_factory.mktemp("other-authority"))


class MailServer:
    """A mail server that keeps what it takes; ``answer`` is what it says to a message.

    Where it has a ``tls`` it takes nothing before STARTTLS; ``tls_versions`` tells of each mail
    that it took how it came, None in the clear.
    """

    def __init__(self) -> None:
        self.taken: list[EmailMessage] = []
        self.tls: ssl.SSLContext | None = None
        self.tls_versions: list[str | None] = []
        self.answer = "250 OK"
        self.answer_to_recipient = "250 OK"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]

    def start(self) -> None:
        self._controller = Controller(
            self,
            hostname="127.0.0.1",
            port=self.port,
            tls_context=self.tls,
            require_starttls=self.tls is not None,
        )
        self._controller.start()

    def stop(self) -> None:
        self._controller.stop()

    def require_starttls(self, tls: ssl.SSLContext) -> None:
        self.stop()
        self.tls = tls
        self.start()

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: object, _session: object, envelope: Any, address: str, _options: object
    ) -> str:
        if self.answer_to_recipient.startswith("2"):
            envelope.rcpt_tos.append(address)
        return self.answer_to_recipient

    async def handle_DATA(self, _server: object, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        if self.answer.startswith("2"):
            self.tls_versions.append(session.ssl and session.ssl["ssl_object"].version())
            self.taken.append(message_from_bytes(envelope.content, policy=policy.default))
        return self.answer


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    server = MailServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def company(mail_server: MailServer) -> Company:
    """A company whose mails go to the tests' server."""
    return Company(
        name="Exemple Hébergement",
        mail_from="vps@hoster.example",
        support_url="https://support.hoster.example",
        smtp=Smtp(host="127.0.0.1", port=mail_server.port, starttls=False),
    )
