"""Whether GDAL can read the ``.aux.xml`` beside a raster: where it cannot, it passes over it without a word.

GDAL itself tells nothing: it parses the file with its errors switched off, and lists it among the dataset's files in
any case. So its elements are followed here once more, as loosely as GDAL does: what it takes must not be called broken.
It takes a bare ``&``, attributes without quotes, upper and lower case mixed, and what follows the element; it takes no
file that begins with anything else than the element, be it a declaration of XML.
"""

from __future__ import annotations

import os
import re

from hdm_geotiff.files.containers import MOST_TEXT

_TOKEN = re.compile(
    r"<!--.*?-->|<!\[CDATA\[.*?\]\]>|<\?.*?\?>"
    r"|<(?P<end>/?)(?P<name>[^\s/<>!?]+)(?:[^\"'<>/]|\"[^\"]*\"|'[^']*'|/(?!>))*+(?P<alone>/?)>",
    re.DOTALL,
)
_ROOT = "pamdataset"


def is_broken(raster: str) -> bool:
    """Whether an ``.aux.xml`` lies beside a raster on disk that GDAL can read nothing from.

    Args:
        raster: path of the raster; of one that lies in an archive or on a network nothing is known.
    """
    path = f"{raster}.aux.xml"
    try:
        if not os.path.isfile(path) or os.path.getsize(path) > MOST_TEXT:
            return False
        with open(path, "rb") as file:
            data = file.read()
    except (OSError, ValueError):
        return True
    return not _is_taken(data.removeprefix(b"\xef\xbb\xbf").decode("latin-1").lower())


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
