"""GeoJSON that would make GDAL fetch something: old GeoJSON may name the address of its CRS instead of the CRS.

GDAL fetches it when the file is opened, and no setting of its own forbids that; the GDAL of pyogrio is not rasterio's,
whose settings do not reach it.
"""

from __future__ import annotations

import json
import re
from typing import Any

from hdm_pipeline.errors import SupportError

_LINKS = ("link", "url")
"""Beginnings of the `type` of a CRS that is an address, in whatever case."""

_SUSPECT = re.compile(rb"(?i)link|url|\\u00")
"""Without these bytes there is no such CRS; the last ones may spell any letter."""

_MOST = 256 << 20
_CHUNK = 1 << 20
_SAVE = "save it as GeoPackage (in QGIS: Export > Save Features As)"
_LINK = object()


def refuse_linked_crs(path: str) -> None:
    """Check that no CRS in a GeoJSON file is an address. Memory: a mebibyte, or some times the file if it is suspect.

    Raises:
        SupportError: one is; or the file is suspect, and too large or no JSON.
        OSError: it cannot be read.
    """
    if not _suspect(path):
        return
    with open(path, "rb") as file:
        text = file.read(_MOST + 1)
    if len(text) > _MOST:
        what = f"a GeoJSON file over {_MOST >> 20} MiB holds links, and cannot be checked"
        raise SupportError(what, where=path, remedy=_SAVE)
    try:
        # GDAL reads what is no strict JSON, too; what Python does not read is not known to be harmless.
        json.loads(text.decode("utf-8-sig", "replace"), strict=False, object_pairs_hook=_checked)
    except _LinkedError as error:
        what = "the file's CRS is an address, and nothing is fetched"
        remedy = f"take `crs` out of the file and name it in the pipeline file, as in `crs: EPSG:32633`; or {_SAVE}"
        raise SupportError(what, where=path, remedy=remedy) from error
    except (ValueError, RecursionError) as error:
        raise SupportError(f"the file is no JSON: {error}", where=path, remedy=_SAVE) from error


def _suspect(path: str) -> bool:
    tail = b""
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            if _SUSPECT.search(tail + chunk):
                return True
            tail = chunk[-3:]
    return False


class _LinkedError(Exception):
    """A CRS is an address."""


def _checked(pairs: list[tuple[str, Any]]) -> object:
    """Look at an object, of which nothing is kept but whether it may be such a CRS; names in any case, as GDAL does."""
    link = False
    for key, value in pairs:
        name = key.casefold()
        if name == "crs" and value is _LINK:
            raise _LinkedError
        link |= name == "type" and isinstance(value, str) and value.casefold().startswith(_LINKS)
    return _LINK if link else None
