"""Where on the globe a scene lies, and when it was taken, as `run.json` tells it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from hdm_pipeline.contracts import RasterGeometry, SceneHeader

if TYPE_CHECKING:
    from pyproj import Transformer

_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

_POINTS = 4
"""Points on each edge: straight lines of a projection are curved on the globe."""

_DIGITS = 4
"""Decimals of a degree that are kept, ten metres: it is for looking at."""


def place(header: SceneHeader) -> dict[str, Any]:
    """What is known of a scene that is not private.

    Returns:
        ``footprint``: [longitude, latitude] of points around a raster, not closed; ``date``: ISO 8601. What is unknown
        is left out.
    """
    if header.ref.private:
        return {}
    found: dict[str, Any] = {}
    around = _footprint(header)
    if around:
        found["footprint"] = around
    date = header.attributes.get("datetime") or header.attributes.get("start_datetime")
    if isinstance(date, str) and date:
        found["date"] = date
    return found


def _footprint(header: SceneHeader) -> list[list[float]]:
    geometry = header.geometry
    if not isinstance(geometry, RasterGeometry) or geometry.crs_wkt is None or geometry.transform == _IDENTITY:
        return []
    transformer = _to_globe(geometry.crs_wkt)
    if transformer is None:
        return []
    _, _, height, width = header.shape
    step = np.arange(_POINTS) / _POINTS
    whole, none = np.ones(_POINTS), np.zeros(_POINTS)
    columns = np.concatenate([step, whole, 1 - step, none]) * width
    rows = np.concatenate([none, step, whole, 1 - step]) * height
    a, b, c, d, e, f = geometry.transform
    lon, lat = transformer.transform(a * columns + b * rows + c, d * columns + e * rows + f)
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        return []
    # Longitudes go on beyond 180 degrees rather than jump.
    lon = np.degrees(np.unwrap(np.radians(np.asarray(lon, dtype=np.float64))))
    return [[round(float(x), _DIGITS), round(float(y), _DIGITS)] for x, y in zip(lon, lat, strict=True)]


@lru_cache(maxsize=16)
def _to_globe(crs_wkt: str) -> Transformer | None:
    """From a CRS to longitude and latitude; None where PROJ cannot, or is not there.

    Remembered: making one costs more than using it.
    """
    try:
        from pyproj import CRS, Transformer
        from pyproj.exceptions import ProjError
    except ImportError:  # of the extra `geo`; a stranger's reader may do without
        return None

    try:
        return Transformer.from_crs(CRS.from_wkt(crs_wkt), "OGC:CRS84", always_xy=True)
    except ProjError:
        return None
