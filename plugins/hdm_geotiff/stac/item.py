"""A scene's products as a STAC item: where, when, which files, and what made them.

STAC 1.1, with the extensions projection 2.0, raster 2.0, classification 2.0, processing 1.2 and file 2.1. Fields that
no extension has begin with ``hdm:``.

A scene whose date nothing tells (`hdm_geotiff.dates`) has ``datetime: null`` and the interval `UNKNOWN`, which holds
any date: STAC wants a date or an interval, and none may be invented. ``hdm:datetime_source`` says ``unknown`` then.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pystac
import rasterio
from pyproj import CRS
from pystac.utils import str_to_datetime

from hdm_geotiff.files.containers import container_of
from hdm_geotiff.files.uris import is_remote, without_user
from hdm_geotiff.recipes.layers import STAC_ITEM
from hdm_geotiff.stac.assets import make_assets
from hdm_geotiff.stac.footprint import footprint, placed_crs
from hdm_pipeline.contracts import Product, RasterGeometry, SceneHeader, ScenePublication
from hdm_pipeline.errors import WriteError

COLLECTION = "collection.json"

UNKNOWN = ("1900-01-01T00:00:00Z", "2099-12-31T23:59:59Z")
"""The interval of a scene of unknown date."""

PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
RASTER = "https://stac-extensions.github.io/raster/v2.0.0/schema.json"
CLASSIFICATION = "https://stac-extensions.github.io/classification/v2.0.0/schema.json"
PROCESSING = "https://stac-extensions.github.io/processing/v1.2.0/schema.json"
FILE = "https://stac-extensions.github.io/file/v2.1.0/schema.json"


def make_item(product: Product, collection: str | None = None) -> dict[str, Any]:
    """The item of a scene, as a dictionary in a fixed order; every link in it is relative, or leads out of the output.

    Args:
        product: the scene with its mask and, in `published`, its other products.
        collection: id of the run's collection; the pipeline's name by default.

    Raises:
        WriteError: the scene is a volume, or a product cannot be read.
    """
    scene = product.scene
    geometry = scene.geometry
    if not isinstance(geometry, RasterGeometry):
        remedy = "take the product stac out: volumes have no place on a map"
        raise WriteError("a volume cannot be a STAC item", where=scene.ref.id, remedy=remedy)
    height, width = scene.shape[2:]
    place = footprint(geometry, height, width)
    grid = _grid(geometry, height, width)
    publication = product.published or ScenePublication("unpublished", Path(), ())
    moment, when = _when(scene.attributes)
    properties = {**when, **grid, **_processing(product), **_measures(publication.measures)}
    if not scene.ref.private:
        properties["hdm:input_identity"] = scene.ref.identity
    if place is None:
        properties["hdm:no_geometry"] = _why_nowhere(scene)
    item = pystac.Item(
        scene.ref.id,
        None if place is None else place.geometry,
        None if place is None else list(place.bbox),
        moment,
        properties,
        stac_extensions=[PROJECTION, RASTER, CLASSIFICATION, PROCESSING, FILE],
        collection=collection or publication.pipeline,
        assets=make_assets(publication, product.classes, grid),
    )
    for relation in ("root", "parent", "collection"):
        item.add_link(pystac.Link(relation, f"../{COLLECTION}", "application/json"))
    for link in _sources(scene, None if publication.copied else publication.folder):
        item.add_link(link)
    return item.to_dict(include_self_link=False, transform_hrefs=False)


def _when(attributes: Mapping[str, Any]) -> tuple[datetime | None, dict[str, Any]]:
    """The item's datetime, and what else is said of its time."""
    source = attributes.get("datetime_source")
    if not source:
        return None, {
            "start_datetime": UNKNOWN[0],
            "end_datetime": UNKNOWN[1],
            "hdm:datetime_source": "unknown",
        }
    interval = {name: attributes[name] for name in ("start_datetime", "end_datetime") if name in attributes}
    nominal = attributes.get("datetime")
    return (None if nominal is None else str_to_datetime(nominal)), {**interval, "hdm:datetime_source": source}


def _grid(geometry: RasterGeometry, height: int, width: int) -> dict[str, Any]:
    """The projection extension's fields."""
    found: dict[str, Any] = {"proj:shape": [height, width], "proj:transform": list(geometry.transform)}
    crs_wkt = placed_crs(geometry)
    if crs_wkt is None:
        return {"proj:code": None, **found}
    crs = CRS.from_wkt(crs_wkt)
    known = crs.to_authority(min_confidence=100)
    code: dict[str, Any] = {"proj:code": ":".join(known)} if known else {"proj:code": None, "proj:wkt2": crs.to_wkt()}
    a, b, c, d, e, f = geometry.transform
    corners = [(a * x + b * y + c, d * x + e * y + f) for x in (0, width) for y in (0, height)]
    xs, ys = zip(*corners, strict=True)
    return {**code, "proj:bbox": [min(xs), min(ys), max(xs), max(ys)], **found}


def _processing(product: Product) -> dict[str, Any]:
    """What made the products; see `hdm_pipeline.contracts.Provenance`."""
    made = product.provenance
    names = ", ".join(one.name for one in product.classes)
    lineage = f"Few-shot segmentation of {names} by hdm_pipeline {made.version}: {made.model}"
    expression = {
        "model": made.model,
        "weights": made.weights_hash,
        "supports": made.support_hash,
        "pipeline": made.pipeline_hash,
        "threshold": made.threshold,
    }
    return {
        "processing:level": "L4",
        "processing:lineage": lineage,
        "processing:software": {"hdm_pipeline": made.version, "gdal": str(rasterio.__gdal_version__)},
        "processing:expression": {"format": "hdm_pipeline", "expression": expression},
        "hdm:model": made.model,
        "hdm:weights_hash": made.weights_hash,
        "hdm:support_hash": made.support_hash,
        "hdm:pipeline_hash": made.pipeline_hash,
        "hdm:threshold": made.threshold,
    }


def _measures(measures: Mapping[str, Any]) -> dict[str, Any]:
    """Areas in m², and their intervals, by class; share of valid pixels, 0..1."""
    names = ("valid", "pixels", "area_m2", "area_m2_interval")
    return {f"hdm:{name}": measures[name] for name in names if measures.get(name) is not None}


def _why_nowhere(scene: SceneHeader) -> str:
    if not isinstance(scene.geometry, RasterGeometry) or not scene.geometry.crs_wkt:
        return "the scene has no coordinate reference system"
    if placed_crs(scene.geometry) is None:
        return "the scene has no transform from pixels to coordinates"
    return "the scene's projection cannot be turned into longitude and latitude at all of its edges"


def _sources(scene: SceneHeader, folder: Path | None) -> list[pystac.Link]:
    """What the scene was: its item, where it came from STAC, else its file. Nothing of a private archive."""
    ref = scene.ref
    if ref.private:
        return []
    if item := scene.attributes.get(STAC_ITEM):
        return [pystac.Link("derived_from", _href(item, folder), "application/geo+json")]
    return [pystac.Link("via", _href(ref.uri, folder), title="the scene")]


def _href(uri: str, folder: Path | None) -> str:
    """A link to a file, or to the zip or tar that it lies in, as a URI reference; relative to `folder` if given."""
    if container := container_of(uri):
        uri = container.path
    if is_remote(uri):
        return without_user(uri)
    if folder is None:
        return Path(uri).absolute().as_uri()
    return quote(os.path.relpath(uri, folder).replace(os.sep, "/"), errors="surrogateescape")
