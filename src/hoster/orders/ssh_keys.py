"""Public SSH keys, checked in their structure: the type, and the same type inside the key."""

from __future__ import annotations

import base64
import binascii

TYPES = (
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)


def checked(key: str) -> str:
    """Return *key*, one line of an ``authorized_keys`` file without options.

    Raises:
        ValueError: it is none. A private key is named as such, and never repeated.
    """
    if "PRIVATE KEY" in key:
        raise ValueError("this is a private key: declare the .pub file that lies beside it")
    parts = key.split(maxsplit=2)
    if len(parts) < 2 or parts[0] not in TYPES:  # noqa: PLR2004 - type and key, then a comment
        raise ValueError(f"no public SSH key; it starts with one of {', '.join(TYPES)}")
    if any(character in key for character in "\r\n"):
        raise ValueError("a public SSH key is one line")
    if not _inner_type(parts[1]) == parts[0]:
        raise ValueError("a damaged public SSH key: its text and its type do not agree")
    return key


def _inner_type(text: str) -> str:
    try:
        blob = base64.b64decode(text, validate=True)
    except binascii.Error:
        return ""
    # RFC 4253, 6.6: a length of four bytes, then the name of the type.
    return blob[4 : 4 + int.from_bytes(blob[:4])].decode("ascii", errors="replace")
