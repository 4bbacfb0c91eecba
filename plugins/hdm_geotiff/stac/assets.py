"""The published files of a scene as assets: media type, roles, size, checksum, and what a raster says of itself."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import rasterio
from affine import Affine
from pystac.extensions.classification import Classification
from rasterio.io import DatasetReader

from hdm_geotiff.files.environment import GDAL_ERRORS, cause_of, gdal_environment
from hdm_pipeline.contracts import BACKGROUND, NODATA, ClassInfo, PublishedFile, ScenePublication
from hdm_pipeline.errors import WriteError

MEDIA_TYPES: Mapping[str, str] = {
    ".fgb": "application/vnd.flatgeobuf",
    ".gpkg": "application/geopackage+sqlite3",
    ".geojson": "application/geo+json",
    ".html": "text/html",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".parquet": "application/vnd.apache.parquet",
    ".png": "image/png",
    ".qml": "application/vnd.qgis.style+xml",
    ".tif": "image/tiff; application=geotiff",
    ".vrt": "application/xml",
    ".xml": "application/xml",
}
"""Of products, by suffix."""

_COG = "image/tiff; application=geotiff; profile=cloud-optimized"
_TITLES: Mapping[str, str] = {
    "mask": "Mask of classes",
    "score": "Probability of each class",
    "uncertainty": "Uncertainty of each class",
    "polygons": "Polygons",
}
_PICTURES = (".png", ".jpg")
_BESIDE = (".xml", ".qml", ".json", ".html")
_CHANGING = (".xml", ".gpkg")
"""Have neither size nor checksum: programs add statistics to a .aux.xml, and write to a GeoPackage by opening it."""

_CHUNK = 2**20
_SHA256 = "1220"
"""What a multihash begins with: SHA-256, 32 bytes."""


def make_assets(
    publication: ScenePublication, classes: Sequence[ClassInfo], grid: Mapping[str, Any]
) -> dict[str, pystac.Asset]:
    """One asset for each published file, by product name; the files beside a product by their own names.

    Args:
        publication: what was published.
        classes: of the mask.
        grid: ``proj:shape`` and ``proj:transform`` of the item; rasters on another one say so.

    Raises:
        WriteError: a file cannot be read.
    """
    found: dict[str, pystac.Asset] = {}
    for file in publication.files:
        key = file.product if file.product not in found else file.path.name
        found[key] = _asset(file, publication, classes, grid)
    return found


def _asset(
    file: PublishedFile, publication: ScenePublication, classes: Sequence[ClassInfo], grid: Mapping[str, Any]
) -> pystac.Asset:
    suffix = file.path.suffix.lower()
    media_type = MEDIA_TYPES.get(suffix)
    fields: dict[str, Any] = {}
    try:
        if suffix == ".tif":
            with gdal_environment(), rasterio.open(file.path, sharing=False) as dataset:
                media_type = _COG if dataset.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == "COG" else media_type
                fields |= _raster_fields(dataset, file.product, grid)
        if suffix not in _CHANGING:
            fields |= {"file:size": file.path.stat().st_size, "file:checksum": _SHA256 + _sha256(file.path)}
    except GDAL_ERRORS as error:
        what = f"a product cannot be read to describe it: {cause_of(error)}"
        raise WriteError(what, where=str(file.path), remedy="run again; if it stays, check the file system") from error
    if file.product == "mask" and suffix == ".tif":
        fields["classification:classes"] = mask_classes(classes, publication.measures)
    href = "./" + os.path.relpath(file.path, publication.folder).replace(os.sep, "/")
    title = _TITLES.get(file.product) if suffix not in _BESIDE else file.path.name
    return pystac.Asset(href, title or file.path.name, None, media_type, _roles(suffix), fields)


def _roles(suffix: str) -> list[str]:
    if suffix in _PICTURES:
        return ["overview", "visual"]
    return ["metadata"] if suffix in _BESIDE else ["data"]


def mask_classes(classes: Sequence[ClassInfo], measures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Background, the classes and no data, as the classification extension has them; pixels where they were counted."""
    pixels = measures.get("pixels") or {}
    background: dict[str, Any] = {"value": BACKGROUND, "name": "background", "title": "background"}
    found = [Classification.create(**background).to_dict()]
    names = {"background", "nodata"}
    for one in classes:
        name = _plain_name(one, names)
        names.add(name)
        color = "{:02X}{:02X}{:02X}".format(*one.color)
        count = pixels.get(one.name)
        entry = Classification.create(one.value, name=name, title=one.name, color_hint=color).to_dict()
        found.append(entry if count is None else entry | {"count": int(count)})
    found.append(Classification.create(NODATA, name="nodata", title="no data", nodata=True).to_dict())
    return found


def _plain_name(one: ClassInfo, taken: set[str]) -> str:
    """A class's name in letters, digits, `-` and `_`, as the extension wants it, and unlike the others."""
    name = re.sub(r"[^0-9A-Za-z_-]+", "_", one.name).strip("_") or f"class_{one.value}"
    return name if name not in taken else f"{name}_{one.value}"


def _raster_fields(dataset: DatasetReader, product: str, grid: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    shape, transform = [dataset.height, dataset.width], list(dataset.transform)[:6]
    if shape != grid.get("proj:shape"):
        fields |= {"proj:shape": shape, "proj:transform": transform}
    kinds = {str(np.dtype(kind)) for kind in dataset.dtypes}
    if len(kinds) == 1:
        fields["data_type"] = kinds.pop()
    if dataset.nodata is not None:
        fields["nodata"] = "nan" if math.isnan(dataset.nodata) else _whole(dataset.nodata)
    if dataset.crs and dataset.crs.is_projected and dataset.transform != Affine.identity():
        metres = dataset.crs.linear_units_factor[1]
        fields["raster:spatial_resolution"] = math.sqrt(abs(dataset.transform.determinant)) * metres
    bands = [_band(dataset, index, product) for index in range(dataset.count)]
    return fields | {"bands": bands}


def _band(dataset: DatasetReader, index: int, product: str) -> dict[str, Any]:
    # The mask's description lists its classes, which stand in `classification:classes`: no name for a band.
    name = dataset.descriptions[index] if dataset.count > 1 or dataset.units[index] else None
    found: dict[str, Any] = {"name": name or (product if dataset.count == 1 else f"{product}_{index + 1}")}
    if dataset.units[index]:
        found["unit"] = dataset.units[index]
    if (dataset.scales[index], dataset.offsets[index]) != (1.0, 0.0):
        found |= {"raster:scale": dataset.scales[index], "raster:offset": dataset.offsets[index]}
    return found


def _whole(value: float) -> float | int:
    return int(value) if value.is_integer() else value


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
