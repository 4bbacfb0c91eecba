"""What a scene is called: a name that may be a folder's on any system."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import PurePosixPath

SUFFIXES = (".tif", ".tiff", ".jp2", ".j2k")
"""Suffixes of files that are scenes, or bands of scenes."""

_UNSAFE = re.compile(r"[^A-Za-z0-9._+=@ -]")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d|run\.json|collection\.json)(\..*)?", re.IGNORECASE)
_MAX_ID = 120
_DIGITS = 8

_CUT = (*(suffix[1:] for suffix in SUFFIXES), "vrt")
"""Suffixes that are no part of an id."""

_AS_IT_IS = rf"[A-Za-z0-9_](?:[A-Za-z0-9._+=@ -]{{0,{_MAX_ID - 2}}}[A-Za-z0-9_+=@-])?"
_PLAIN = re.compile(rf"(?!(?i:{_RESERVED.pattern})\Z){_AS_IT_IS}", re.ASCII)
"""Names that are ids as they are: nearly all. To look at others takes ten times as long.

Both cases are written out: to have each letter compared without case takes a third longer.
"""

_PLAIN_FILE = re.compile(
    rf"(?:[^\n]*/)?(?!(?i:{_RESERVED.pattern})\Z)(?P<id>{_AS_IT_IS})\.(?i:{'|'.join(_CUT)})", re.ASCII
)
"""The paths of files whose names, less the suffix, are ids as they are."""


def scene_id(relative: str, ids: str) -> str:
    """A scene's id: safe as a folder name on any system, and another one for each name.

    A name of plain letters, digits, spaces and ``._+=@-`` is the id. Of any other name the id holds what can be kept,
    and the start of the name's SHA-256: ``lake (1).tif`` is ``lake _1_-e8f5d2a0``.

    Args:
        relative: path below the archive's root, with forward slashes.
        ids: ``name`` or ``path``.
    """
    if ids == "name" and (plain := _PLAIN_FILE.fullmatch(relative)):
        return plain["id"]
    *folders, name = relative.split("/")
    if not all(folders) or not name or "." in (*folders, name):
        *folders, name = PurePosixPath(relative).parts or ("",)
    stem, _, suffix = name.rpartition(".")
    if not stem or suffix.lower() not in _CUT:
        stem = name
    return safe_id("__".join((*folders, stem)) if ids == "path" else stem)


def safe_id(full: str) -> str:
    """A name as an id; see `scene_id`."""
    if _PLAIN.fullmatch(full):
        return full
    bare = "".join(c for c in unicodedata.normalize("NFKD", full) if not unicodedata.combining(c))  # é as e
    name = _UNSAFE.sub("_", bare).strip(" ").rstrip(".")
    if not name or name[0] in ".+=@-" or _RESERVED.fullmatch(name):
        name = f"_{name}"
    if name == full and len(name) <= _MAX_ID:
        return name
    digest = hashlib.sha256(full.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    return f"{name[: _MAX_ID - _DIGITS - 1]}-{digest}"
