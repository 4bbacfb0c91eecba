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


def scene_id(relative: str, ids: str) -> str:
    """A scene's id: safe as a folder name on any system, and another one for each name.

    A name of plain letters, digits, spaces and ``._+=@-`` is the id. Of any other name the id holds what can be kept,
    and the start of the name's SHA-256: ``lake (1).tif`` is ``lake _1_-e8f5d2a0``.

    Args:
        relative: path below the archive's root, with forward slashes.
        ids: ``name`` or ``path``.
    """
    path = PurePosixPath(relative)
    stem = path.stem if path.suffix.lower() in (*SUFFIXES, ".vrt") else path.name
    parts = [*path.parts[:-1], stem] if ids == "path" else [stem]
    return safe_id("__".join(parts))


def safe_id(full: str) -> str:
    """A name as an id; see `scene_id`."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", full) if not unicodedata.combining(c))  # é as e
    name = _UNSAFE.sub("_", bare).strip(" ").rstrip(".")
    if not name or name[0] in ".+=@-" or _RESERVED.fullmatch(name):
        name = f"_{name}"
    if name == full and len(name) <= _MAX_ID:
        return name
    digest = hashlib.sha256(full.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    return f"{name[: _MAX_ID - _DIGITS - 1]}-{digest}"
