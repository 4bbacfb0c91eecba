"""What people called the file of a scene, and its folders, whose id could not take all of that."""

from __future__ import annotations

import re
import unicodedata
from itertools import product
from pathlib import PurePosixPath
from urllib.parse import unquote

from hdm_pipeline.contracts import SceneRef

_PLAIN = re.compile(r"[A-Za-z0-9._+=@ /-]*")
"""Characters that ids hold as they are, and what stands between folders."""

_STRANGE = re.compile(r"[^A-Za-z0-9]")
_HASH = re.compile(r"(_[A-Za-z0-9]+)?")
_LONG = 100
"""Characters from which on an id may be cut."""


def file_name(ref: SceneRef) -> str:
    """The file's own name, where the id had to leave out or change characters of it; empty otherwise.

    Where the id was made of folders, too, these come before it: ``Köln/lake.tif`` for ``Koln__lake-0a1b2c3d``. Empty,
    too, where the name may be a patient's. Bytes that are no text become question marks.
    """
    if ref.private or ref.remote or _PLAIN.fullmatch(ref.uri):
        return ""
    uri = unquote(ref.uri) if "://" in ref.uri else ref.uri
    parts = [part for part in uri.split("/") if part]
    below = max((count for count in range(1, len(parts) + 1) if _made_of(ref.id, parts[-count:])), default=1)
    name = "/".join(parts[-below:])
    return "" if _PLAIN.fullmatch(name) else name.encode("utf-8", "replace").decode("utf-8")


def _made_of(scene: str, parts: list[str]) -> bool:
    """Whether an id may have been made of these folders and this name, with a hash behind it or without."""
    found = _skeleton(scene)
    for name, between in product((parts[-1], PurePosixPath(parts[-1]).stem), ("__", "_")):
        whole = between.join(map(_skeleton, (*parts[:-1], name)))
        for start in (whole, f"_{whole}"):
            if found.startswith(start) and _HASH.fullmatch(found.removeprefix(start)):
                return True
        if len(scene) > _LONG and whole.startswith(found[:_LONG]):
            return True
    return False


def _skeleton(text: str) -> str:
    """What any id keeps of a text: letters without accents, digits, and one character for each of the others."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return _STRANGE.sub("_", bare)


def holds(name: str, text: str) -> bool:
    """Whether a name holds a text, in any case, and however its accents are written: macOS takes them apart."""
    return _folded(text) in _folded(name)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
