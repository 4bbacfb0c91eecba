"""Hashed identifiers and UIDs: the same on every machine, and never a patient's."""

from __future__ import annotations

import hashlib
import hmac
import re

_ROOT = "2.25."
_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")
_MAX_UID = 64
_SEPARATOR = "\x1f"


def digest(*parts: object) -> str:
    """SHA-256 (hex) over the texts of the parts; the borders between parts count."""
    return hashlib.sha256(_SEPARATOR.join(str(part) for part in parts).encode()).hexdigest()


def derived_uid(*parts: object) -> str:
    """A UID under 2.25 (PS3.5 B.2) made of a hash of the parts: equal parts give equal UIDs."""
    return _ROOT + str(int(digest(*parts)[:32], 16))


def keyed_uid(key: bytes, uid: str) -> str:
    """The UID that replaces `uid` in de-identified files: HMAC-SHA-256, which only the key's holder can repeat."""
    mac = hmac.new(key, uid.encode(), hashlib.sha256).hexdigest()
    return _ROOT + str(int(mac[:32], 16))


def is_uid(text: str) -> bool:
    """True for a well-formed UID (PS3.5 section 9.1)."""
    return 0 < len(text) <= _MAX_UID and _UID.fullmatch(text) is not None
