"""What a JSON file says of coordinates, looked at before GDAL does: of a CRS that is a link, GDAL fetches the link.

GDAL takes ``crs`` from the file, from a feature or from a geometry, in upper or lower case, with escapes, in single
quotes and before or behind the features. So the file is searched for the word, however it may be written, and not
parsed: memory does not depend on its size.
"""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Iterator
from typing import Any

_LETTERS = (rb"(?:c|\\u00[46]3)", rb"(?:r|\\u00[57]2)", rb"(?:s|\\u00[57]3)")
_KEY = re.compile(rb"[\"']" + b"".join(_LETTERS) + rb"[\"']\s*(?=[:/])", re.IGNORECASE)
_MOST_BYTES = 2**16
"""Of a CRS."""

_FETCHED = ("link", "url")
"""What the types of a CRS that GDAL fetches begin with, in any case."""


def links_crs(path: str) -> bool:
    """Whether a CRS anywhere in a JSON file is a link, or cannot be told from one.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
        return any(_may_be_link(held[found.end() : found.end() + _MOST_BYTES]) for found in _KEY.finditer(held))


def _may_be_link(said: bytes) -> bool:
    """Whether what follows the word `crs` is a link, or is written as no JSON is that one can be sure of."""
    text = said.decode("utf-8", "replace")
    value = text.removeprefix(":").lstrip()
    if text.startswith("/") or value.startswith("/"):
        return True  # a comment, which GDAL passes over
    if not value.startswith("{"):
        return False
    try:
        content, _ = json.JSONDecoder(object_pairs_hook=list).raw_decode(value)
    except (ValueError, RecursionError):
        return True
    types = (one for key, one in _pairs(content) if key.casefold() == "type" and isinstance(one, str))
    return any(one.casefold().startswith(_FETCHED) for one in types)


def _pairs(content: Any) -> Iterator[tuple[str, Any]]:
    """Names and values of objects at any depth; `content` has objects as lists of pairs, so that none hides another."""
    if isinstance(content, list | tuple):
        if isinstance(content, tuple) and len(content) == 2 and isinstance(content[0], str):
            yield content
        for one in content:
            yield from _pairs(one)
