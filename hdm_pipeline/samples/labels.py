"""Labels of the sample chips as a GeoPackage: all water traced from the masks, and a few polygons drawn as people do.

Two layers, both in longitude and latitude, with the attributes ``class`` (``water`` or ``land``) and ``chip``:

``water``  every water body of every chip, its outline along the edges of pixels: all that is water is drawn
``drawn``  a few polygons within water and within land, with a distance to the shore: the rest is unknown
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyogrio
import rasterio
import shapely
from pyogrio.errors import DataSourceError
from rasterio.features import shapes
from rasterio.warp import transform_geom

CRS = "EPSG:4326"
TRACED, DRAWN = "water", "drawn"

_CLASSES = {1: "water", 0: "land"}
_CELL = 128
"""Side in pixels of the lattice in whose cells polygons are drawn."""

_RIM = 8
_PLACES = 2
"""Cells of a chip in which something is drawn: a polygon of each class."""

_SHARE = 0.75
_SHORE = 2.5
"""Distance of drawn polygons to the shore, and how far their outline may stray, in pixels."""

Feature = tuple[Any, str, str]
"""(geometry, class, chip)."""


def write_labels(path: Path, chips: Sequence[tuple[Path, Path]]) -> None:
    """Write the GeoPackage, under its name only when it is complete.

    Args:
        path: of the GeoPackage; replaced if it is there.
        chips: (image, mask) of each chip.

    Raises:
        OSError: it cannot be written.
    """
    traced: list[Feature] = []
    drawn: list[Feature] = []
    for image, mask in chips:
        with rasterio.open(mask) as file:
            label, grid, crs = file.read(1), file.transform, file.crs
        outlines = _polygons((label == 1).astype(np.uint8), grid)
        traced += [(outline, _CLASSES[1], image.stem) for outline in _moved(outlines, crs)]
        for value, name in _CLASSES.items():
            sketch = _sketch(label == value, grid)
            drawn += [(polygon, name, image.stem) for polygon in _moved(sketch, crs)]
    part = path.with_name(f".{path.name}")
    part.unlink(missing_ok=True)
    try:
        _write(part, TRACED, traced, append=False)
        _write(part, DRAWN, drawn, append=True)
        os.replace(part, path)
    except DataSourceError as error:
        raise OSError(str(error)) from error
    finally:
        part.unlink(missing_ok=True)


def _polygons(mask: npt.NDArray[np.uint8], grid: Any) -> list[Any]:
    return [shapely.geometry.shape(outline) for outline, _ in shapes(mask, mask=mask == 1, transform=grid)]


def _cells(mask: npt.NDArray[np.bool_]) -> list[tuple[slice, slice]]:
    """The cells of a lattice of which a class fills about three quarters, without their rims: people draw at shores."""
    found = [
        (slice(row + _RIM, row + _CELL - _RIM), slice(column + _RIM, column + _CELL - _RIM))
        for row in range(0, mask.shape[0] - _CELL + 1, _CELL)
        for column in range(0, mask.shape[1] - _CELL + 1, _CELL)
    ]
    return sorted(found, key=lambda cell: abs(float(mask[cell].mean()) - _SHARE))[:_PLACES]


def _sketch(mask: npt.NDArray[np.bool_], grid: Any) -> list[Any]:
    """The largest polygon of a class in each of some cells, at a distance to the shore."""
    pixel = abs(grid.a)
    found = []
    for cell in _cells(mask):
        part = np.zeros_like(mask, dtype=np.uint8)
        part[cell] = mask[cell]
        inside = [outline.buffer(-_SHORE * pixel).simplify(_SHORE * pixel / 2) for outline in _polygons(part, grid)]
        found += sorted(shapely.get_parts(inside), key=shapely.area)[-1:]
    kept = [polygon for polygon in found if not polygon.is_empty]
    return [shapely.Polygon(p.exterior, [ring for ring in p.interiors if ring.length > 20 * pixel]) for p in kept]


def _moved(polygons: Sequence[Any], crs: Any) -> list[Any]:
    outlines = [shapely.geometry.mapping(polygon) for polygon in polygons]
    return [shapely.geometry.shape(moved) for moved in transform_geom(crs, CRS, outlines)] if outlines else []


def _write(path: Path, layer: str, features: Sequence[Feature], *, append: bool) -> None:
    geometries, classes, chips = zip(*features, strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pyogrio.raw.write(
            path,
            geometry=shapely.to_wkb(np.array(geometries, dtype=object)),
            field_data=[np.array(classes, dtype=object), np.array(chips, dtype=object)],
            fields=["class", "chip"],
            layer=layer,
            driver="GPKG",
            geometry_type="Polygon",
            crs=CRS,
            append=append,
        )
