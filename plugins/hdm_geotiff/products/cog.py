"""Writing a cloud-optimized GeoTIFF in bounded memory: a plain tiled file by windows, then GDAL's COG driver.

The COG layout wants overviews before the pixels, so it cannot be written in one pass. The plain file is sparse and
lightly compressed, lies next to the product and is gone when the product is there or the writing fails.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rasterio
import rasterio.shutil
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.io import DatasetWriter

from hdm_geotiff.files.environment import CACHE_MB, GDAL_ERRORS, environment
from hdm_geotiff.files.failures import what_stops_writing, write_error
from hdm_pipeline.contracts import RasterGeometry, SceneHeader
from hdm_pipeline.errors import WriteError
from hdm_pipeline.grid import Window

TILE = 512
"""Side of the file's tiles."""


@dataclass(frozen=True)
class CogLayout:
    """What the file looks like, apart from its pixels.

    Attributes:
        bands: number of uint8 bands.
        nodata: value that means no data; None where an internal mask says so.
        overviews: resampling of the overviews, as GDAL names it: NEAREST keeps class numbers, AVERAGE keeps means.
    """

    bands: int
    nodata: int | None
    overviews: str


@contextmanager
def open_cog(
    path: Path, scene: SceneHeader, layout: CogLayout, sidecars: Mapping[str, str] | None = None
) -> Iterator[DatasetWriter]:
    """Write a COG on a scene's grid, with small files beside it; they are put in place when the block ends well.

    The block writes tags and pixels into the plain file that it is given.

    Args:
        path: where it appears, in an existing folder.
        scene: whose size, CRS, transform and ground control points it gets.
        layout: bands, nodata and overviews.
        sidecars: texts of the files beside it, by name.

    Raises:
        OutputError: the folder is not writable, or the disk is full.
        WriteError: any other failure.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".cog-", dir=path.parent) as folder:
            plain, product = Path(folder, "plain.tif"), Path(folder, "cog.tif")
            try:
                with environment(**plain_settings()):
                    with rasterio.open(plain, "w", **plain_profile(scene, layout)) as target:
                        place_otherwise(target, scene)
                        yield target
                    rasterio.shutil.copy(plain, product, **_cog_options(layout))
                    _check(product, scene, layout)
                beside = dict(sidecars or {})
                for name, text in beside.items():
                    Path(folder, f"beside-{name}").write_text(text, encoding="utf-8", newline="\n")
                os.replace(product, path)
                for name in beside:
                    os.replace(Path(folder, f"beside-{name}"), path.with_name(name))
            except GDAL_ERRORS as error:
                needed = (layout.bands + 1) * scene.shape[2] * scene.shape[3]  # without compression
                raise write_error(error, path, what_stops_writing(Path(folder), needed)) from error
    except OSError as error:
        raise write_error(error, path, error) from error


def windows(scene: SceneHeader, block: tuple[int, int]) -> Iterator[Window]:
    """Cut a scene into windows of whole file tiles, about as large as `block` (height, width)."""
    _, _, height, width = scene.shape
    down, across = (max(1, side // TILE) * TILE for side in block)
    for y in range(0, height, down):
        for x in range(0, width, across):
            yield Window(z=0, y=y, x=x, height=min(down, height - y), width=min(across, width - x))


def plain_settings() -> dict[str, Any]:
    """GDAL's settings for writing a file and nothing beside it."""
    return {
        "GDAL_CACHEMAX": CACHE_MB,
        "GDAL_TIFF_INTERNAL_MASK": True,
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
        "GDAL_PAM_ENABLED": False,  # GDAL writes nothing next to the product: `styles` does, the same bytes each time
    }


def plain_profile(scene: SceneHeader, layout: CogLayout) -> dict[str, Any]:
    """A sparse tiled file on a scene's grid, for `rasterio.open`.

    Raises:
        WriteError: the scene is a volume.
    """
    _, _, height, width = scene.shape
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "dtype": "uint8",
        "count": layout.bands,
        "height": height,
        "width": width,
        "nodata": layout.nodata,
        "tiled": True,
        "blockxsize": TILE,
        "blockysize": TILE,
        "interleave": "band",
        "compress": "deflate",
        "zlevel": 1,
        "sparse_ok": True,
        "bigtiff": "IF_SAFER",
    }
    geometry = scene.geometry
    if not isinstance(geometry, RasterGeometry):
        remedy = "choose products of the medical plug-in for volumes"
        raise WriteError("a volume cannot be written as GeoTIFF", where=scene.ref.id, remedy=remedy)
    if geometry.crs_wkt:
        profile["crs"] = CRS.from_wkt(geometry.crs_wkt)
    transform = Affine(*geometry.transform)
    if transform != Affine.identity():
        profile["transform"] = transform
    return profile


def place_otherwise(target: DatasetWriter, scene: SceneHeader) -> None:
    """Keep ground control points and rational polynomials (RPC)."""
    if rpcs := scene.attributes.get("rpcs"):
        target.update_tags(ns="RPC", **rpcs)
    points = scene.attributes.get("gcps")
    if not points:
        return
    names = ("row", "col", "x", "y", "z", "id", "info")
    wkt = scene.attributes.get("gcps_crs_wkt")
    gcps = [GroundControlPoint(**dict(zip(names, point, strict=True))) for point in points]
    target.gcps = (gcps, CRS.from_wkt(wkt) if wkt else CRS())


def _cog_options(layout: CogLayout) -> Mapping[str, Any]:
    return {
        "driver": "COG",
        "COMPRESS": "DEFLATE",
        "LEVEL": 6,
        "BLOCKSIZE": TILE,
        "OVERVIEW_RESAMPLING": layout.overviews,
        "BIGTIFF": "IF_SAFER",
        "NUM_THREADS": 1,  # scenes are published side by side; a second thread would cost 30 MB for each
    }


def _check(product: Path, scene: SceneHeader, layout: CogLayout) -> None:
    """GDAL may report a full disk only to its log when it closes a file: look at what is there."""
    _, _, height, width = scene.shape
    with rasterio.open(product) as written:
        last = ((height - 1, height), (width - 1, width))
        if written.shape != (height, width) or written.count != layout.bands:
            raise WriteError("the product came out wrong", where=str(product), remedy="please report this")
        written.read(window=last)
        written.read_masks(1, window=last)
