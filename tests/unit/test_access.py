"""The initial password: long enough, readable, in no repr. Contract: C4.2."""

from __future__ import annotations

import math
import re

import pytest
from passlib.hash import sha512_crypt

from hoster.orders import access
from hoster.orders.access import generate, hashed


@pytest.fixture(autouse=True)
def few_rounds() -> None:
    """None of it here: hashes are made as for a guest."""


def test_a_password_is_five_groups_of_characters_that_nobody_mistakes() -> None:
    password = generate("acme/web", "debian").password

    assert re.fullmatch(
        r"([abcdefghjkmnpqrstuvwxyz2-9]{5}-){4}[abcdefghjkmnpqrstuvwxyz2-9]{5}", password
    )
    assert not set("01oil") & set(password)


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many passwords, none of their hashes: each takes a fifth of a second, on purpose."""
    monkeypatch.setattr(access, "hashed", lambda _password: "")


@pytest.mark.usefixtures("_quick")
def test_a_password_has_more_than_a_hundred_bits() -> None:
    drawn = set("".join(generate("acme/web", "debian").password for _ in range(40))) - {"-"}

    # Forty draw a thousand characters: each of the alphabet's comes up.
    assert 31 == len(drawn)
    assert 100 < 25 * math.log2(len(drawn))


@pytest.mark.usefixtures("_quick")
def test_no_two_passwords_are_the_same() -> None:
    assert 1000 == len({generate("acme/web", "debian").password for _ in range(1000)})


def test_the_hash_is_what_a_guest_checks_the_password_against() -> None:
    codes = generate("acme/web", "debian")

    assert codes.password_hash.startswith("$6$rounds=100000$")
    assert sha512_crypt.verify(codes.password, codes.password_hash)
    assert not sha512_crypt.verify(codes.password + "x", codes.password_hash)


def test_the_same_password_has_another_hash_each_time() -> None:
    assert hashed("the same") != hashed("the same")


def test_codes_in_a_traceback_show_no_secret() -> None:
    codes = generate("acme/web", "debian")

    assert "AccessCodes(vps='acme/web', user='debian')" == repr(codes)
    assert codes.password not in f"{codes} {codes!r}"
