"""What people called the file of a scene whose id could not take all of its name."""

from __future__ import annotations

import os
import re
import unicodedata
from urllib.parse import unquote

from hdm_pipeline.contracts import SceneRef

_PLAIN = re.compile(r"[A-Za-z0-9._+=@ -]*")
"""Characters that ids hold as they are."""


def file_name(ref: SceneRef) -> str:
    """The file's own name, where the id had to leave out or change characters of it; empty otherwise.

    Empty, too, where the name may be a patient's. Bytes that are no text become question marks.
    """
    if ref.private or ref.remote:
        return ""
    uri = unquote(ref.uri) if "://" in ref.uri else ref.uri
    name = os.path.basename(uri.rstrip("/"))
    return "" if _PLAIN.fullmatch(name) else name.encode("utf-8", "replace").decode("utf-8")


def holds(name: str, text: str) -> bool:
    """Whether a name holds a text, in any case, and however its accents are written: macOS takes them apart."""
    return _folded(text) in _folded(name)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
