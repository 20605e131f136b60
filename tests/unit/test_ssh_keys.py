"""A client's public keys: checked in their structure before they are declared."""

from __future__ import annotations

import base64

import pytest

from hoster.orders.ssh_keys import TYPES, checked


def key(kind: str, inside: str = "", comment: str = "") -> str:
    name = (inside or kind).encode()
    blob = len(name).to_bytes(4, "big") + name + b"\0\0\0\x04abcd"
    return f"{kind} {base64.b64encode(blob).decode()} {comment}".strip()


@pytest.mark.parametrize("kind", TYPES)
def test_each_type_is_taken_with_and_without_a_comment(kind: str) -> None:
    assert key(kind) == checked(key(kind))
    assert key(kind, comment="ada at home") == checked(key(kind, comment="ada at home"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no public SSH key"),
        ("ssh-ed25519", "no public SSH key"),
        (key("ssh-dss"), "no public SSH key"),
        ('command="x" ' + key("ssh-rsa"), "no public SSH key"),
        (key("ssh-ed25519", inside="ssh-rsa"), "do not agree"),
        ("ssh-ed25519 not*base64", "damaged"),
        (key("ssh-rsa") + "\n" + key("ssh-rsa"), "one line"),
        ("-----BEGIN OPENSSH " + "PRIVATE KEY-----", "this is a private key"),
    ],
)
def test_anything_else_is_refused_with_the_reason(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        checked(text)
