"""Whether GDAL can read the ``.aux.xml`` beside a raster: where it cannot, it passes over it without a word.

GDAL itself tells nothing: it parses the file with its errors switched off, and lists it among the dataset's files in
any case. So its elements are followed here once more, as loosely as GDAL does: what it takes must not be called broken.
It takes a bare ``&``, attributes without quotes, upper and lower case mixed, and what follows the element; it takes no
file that begins with anything else than the element, be it a declaration of XML.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import lru_cache

from hdm_geotiff.files.containers import MOST_TEXT, container_of, read_text, state_of
from hdm_geotiff.files.remote import read_remote
from hdm_geotiff.files.uris import is_remote
from hdm_pipeline.errors import ReadError

_TOKEN = re.compile(
    r"<!--.*?-->|<!\[CDATA\[.*?\]\]>|<\?.*?\?>"
    r"|<(?P<end>/?)(?P<name>[^\s/<>!?]+)(?:[^\"'<>/]|\"[^\"]*\"|'[^']*'|/(?!>))*+(?P<alone>/?)>",
    re.DOTALL,
)
_ROOT = "pamdataset"


def is_broken(raster: str, files: Sequence[str]) -> bool:
    """Whether an ``.aux.xml`` lies beside a raster that GDAL can read nothing from.

    Args:
        raster: path or URI of the raster.
        files: those that GDAL says it is made of. In an archive or on a network nothing else is looked for.
    """
    path = f"{raster}.aux.xml"
    archive = container_of(raster)
    if archive is not None or is_remote(raster):
        name = os.path.basename(path)
        if not any(os.path.basename(file) == name for file in files):
            return False
        return _is_broken_there(path, "" if archive is None else state_of(raster))
    try:
        if not os.path.isfile(path) or os.path.getsize(path) > MOST_TEXT:
            return False
        with open(path, "rb") as file:
            data = file.read()
    except (OSError, ValueError):
        return True
    return not _is_taken(data.removeprefix(b"\xef\xbb\xbf").decode("latin-1").lower())


@lru_cache(maxsize=4096)  # a scene is opened for every step, and its archive would be listed each time
def _is_broken_there(path: str, _state_of_archive: str) -> bool:
    try:
        text = read_remote(path) if is_remote(path) and container_of(path) is None else read_text(path)
    except ReadError:
        return False  # it is too large to be one, or not ours to read: nothing is known
    return not _is_taken(text.removeprefix("\ufeff").lower())


def _is_taken(text: str) -> bool:
    """Whether a text, in lower case, is an element of GDAL's in which each element that begins also ends."""
    open_elements: list[str] = []
    place = len(text) - len(text.lstrip())
    if not text.startswith(f"<{_ROOT}", place):
        return False
    while (place := text.find("<", place)) >= 0:
        token = _TOKEN.match(text, place)
        if token is None:
            return False
        place = token.end()
        if not (name := token["name"]) or token["alone"]:
            continue
        if not token["end"]:
            open_elements.append(name)
        elif not open_elements or open_elements.pop() != name:
            return False
    return not open_elements
