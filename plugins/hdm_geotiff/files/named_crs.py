"""A CRS that a file of somebody else names: by its code or as WKT, and never as an address, which GDAL would fetch."""

from __future__ import annotations

import re

from rasterio.crs import CRS
from rasterio.errors import CRSError

_WKT = re.compile(r"[A-Za-z_]+\s*\[")
_CODE = re.compile(r"[\w.:-]+|https?://(?:www\.)?opengis\.net/def/crs/[\w./-]+")
"""``EPSG:32633``, ``urn:ogc:def:crs:OGC:1.3:CRS84``; the addresses of OGC are names that GDAL knows by heart."""

FARTHEST = 1e15
"""Coordinates beyond it, in metres or degrees, are on no map: neighboring numbers lie a decimetre apart there."""


def is_named(text: str) -> bool:
    """Whether a text is the name of a CRS that can be looked up here."""
    said = text.strip()
    proj = said.startswith("+") and "//" not in said
    return bool(_WKT.match(said) or _CODE.fullmatch(said)) or proj


def crs_named(text: str) -> CRS:
    """The CRS of a name.

    Raises:
        CRSError: there is none of that name, or it is an address or a path.
    """
    if not is_named(text):
        raise CRSError("the CRS is named neither by a code nor as WKT")
    said = text.strip()
    return CRS.from_wkt(said) if _WKT.match(said) else CRS.from_user_input(said)
