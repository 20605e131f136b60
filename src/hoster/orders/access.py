"""The access codes of a new VPS: an initial password that opens the door once. Contract: C4.2."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

# Without what people mistake for each other: 0 and o, 1 and l and i.
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
_GROUPS, _GROUP_LENGTH = 5, 5  # 25 of 31 characters: 123 bits
_HASH_ROUNDS = 100_000


@dataclass(frozen=True)
class AccessCodes:
    """How the client gets in the first time; the password never shows in a repr."""

    vps: str
    user: str
    password: str = field(repr=False)
    password_hash: str = field(repr=False)


def generate(vps: str, user: str) -> AccessCodes:
    """Make the codes of *vps*: a random password in readable groups, and its SHA-512 crypt hash."""
    password = "-".join(
        "".join(secrets.choice(_ALPHABET) for _ in range(_GROUP_LENGTH)) for _ in range(_GROUPS)
    )
    return AccessCodes(vps, user, password, hashed(password))


def hashed(password: str) -> str:
    """Return the SHA-512 crypt hash that a guest's ``/etc/shadow`` takes."""
    from passlib.hash import sha512_crypt

    digest: str = sha512_crypt.using(rounds=_HASH_ROUNDS).hash(password)
    return digest
