"""What a file says about itself, checked before any pixel is decoded."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.io import DatasetReader

from hdm_geotiff.dates import acquisition, misfit
from hdm_geotiff.files.aux_xml import is_broken
from hdm_geotiff.files.named_crs import FARTHEST
from hdm_geotiff.options import ReaderOptions
from hdm_geotiff.scenes.pixel_areas import TOLERANCE, affine_place, off_the_globe, row_areas
from hdm_geotiff.scenes.raster_grid import Grid
from hdm_geotiff.values import Law
from hdm_pipeline.contracts import Band, RasterGeometry, SceneHeader, SceneRef, SceneWarning
from hdm_pipeline.errors import ReadError, UnsupportedSceneError, counted

_MAX_SIDE = 4_000_000
_MAX_BANDS = 4096

_ROLES: Mapping[ColorInterp, Literal["alpha", "palette"]] = {
    ColorInterp.alpha: "alpha",
    ColorInterp.palette: "palette",
}


def describe(dataset: DatasetReader, laws: Sequence[Law], ref: SceneRef, options: ReaderOptions) -> SceneHeader:
    """Make the header of a scene that is one open dataset.

    Args:
        dataset: the open dataset.
        laws: how its bands are read.
        ref: the scene.
        options: of the reader.

    Raises:
        ReadError: it holds no band.
        UnsupportedSceneError: no usable transform, complex pixels, too large, or cut into blocks too large to decode.
    """
    check_size(dataset, ref.uri, options)
    grid = Grid.of(dataset)
    bands = tuple(
        Band(name.strip(), (unit or "").strip(), _ROLES.get(color, ""), declared(law.nodata))
        for name, unit, color, law in zip(names_of(dataset), dataset.units, dataset.colorinterp, laws, strict=True)
    )
    height, width = min(dataset.block_shapes)
    return SceneHeader(
        ref=ref,
        shape=(dataset.count, 1, dataset.height, dataset.width),
        dtype=str(np.dtype(dataset.dtypes[0])),
        bands=bands,
        geometry=geometry_of(grid),
        chunk=(height, width),
        warnings=(
            *grid_warnings(dataset, grid),
            *sidecar_warnings(dataset, ref.uri),
            *option_warnings(ref, names_of(dataset), options),
        ),
        attributes={**placing(dataset), **date_attributes(dataset, ref, options)},
    )


def names_of(dataset: DatasetReader) -> list[str]:
    """Descriptions of a dataset's bands; empty where there is none."""
    return [name or "" for name in dataset.descriptions]


def geometry_of(grid: Grid) -> RasterGeometry:
    """A grid as the contract has it."""
    return RasterGeometry(tuple(grid.transform)[:6], grid.crs.to_wkt() if grid.crs else None)


def declared(nodata: float | None) -> float | None:
    """A nodata value that says something: NaN is never valid, and would make a header unequal to its copy."""
    return None if nodata is None or math.isnan(nodata) else nodata


def check_size(dataset: DatasetReader, where: str, options: ReaderOptions) -> None:
    """Refuse what cannot be processed, or not in bounded memory, by its header.

    Raises:
        ReadError: it holds no band.
        UnsupportedSceneError: no usable transform, complex pixels, too large, or cut into blocks too large to decode.
    """
    if dataset.count < 1:
        raise ReadError("the file holds no band", where=where, remedy="leave it out of the archive")
    if not all(map(math.isfinite, dataset.transform)):
        what = "its georeference holds numbers that are not finite"
        remedy = "correct its world file, or its own: gdal_edit.py -a_ullr LEFT TOP RIGHT BOTTOM"
        raise UnsupportedSceneError(what, where=where, remedy=remedy)
    check_transform(dataset.transform, dataset.shape, where)
    if any("complex" in dtype for dtype in dataset.dtypes):
        remedy = "convert it to amplitude or power first, e.g. gdal_calc.py --calc='abs(A)'"
        raise UnsupportedSceneError(f"complex pixels ({dataset.dtypes[0]})", where=where, remedy=remedy)
    pixels = dataset.width * dataset.height
    if pixels > options.max_pixels or max(dataset.shape) > _MAX_SIDE or dataset.count > _MAX_BANDS:
        what = f"the header claims {dataset.count} x {dataset.height} x {dataset.width} pixels, more than is accepted"
        remedy = f"if that is true, raise the reader option max_pixels (now {options.max_pixels}) or cut the scene"
        raise UnsupportedSceneError(what, where=where, remedy=remedy)
    interleaved = dataset.count if dataset.interleaving and dataset.interleaving.name == "pixel" else 1
    itemsize = max(np.dtype(dtype).itemsize for dtype in dataset.dtypes)
    block = max(math.prod(shape) for shape in dataset.block_shapes) * itemsize * interleaved
    if block > options.max_block_bytes:
        what = f"one block of the file decodes to {block / 2**20:.0f} MiB, more than is accepted"
        remedy = (
            "tile it: gdal_translate -co TILED=YES -co COMPRESS=DEFLATE; or raise the reader option max_block_bytes"
        )
        raise UnsupportedSceneError(what, where=where, remedy=remedy)


def check_transform(transform: Affine, shape: tuple[int, int], where: str) -> None:
    """Refuse a transform under which pixels have no area, or lie on no map: nothing could be found by its place.

    Raises:
        UnsupportedSceneError: it maps all pixels to a line or a point, or to where coordinates have no digits left.
    """
    height, width = shape
    with np.errstate(over="ignore", invalid="ignore"):
        xs, ys = affine_place(transform)(np.array([0.0, width, 0.0, width]), np.array([0.0, 0.0, height, height]))
    if far := [(x, y) for x, y in zip(xs, ys, strict=True) if not max(abs(x), abs(y)) <= FARTHEST]:
        what = f"its georeference places a corner at ({far[0][0]:g}, {far[0][1]:g}), which is on no map"
        remedy = "correct its world file, or its own: gdal_edit.py -a_ullr LEFT TOP RIGHT BOTTOM"
        raise UnsupportedSceneError(what, where=where, remedy=remedy)
    if transform.determinant == 0:
        what = f"its transform maps all pixels to a line: {tuple(transform)[:6]}"
        remedy = "correct its world file, or its own: gdal_edit.py -a_ullr LEFT TOP RIGHT BOTTOM"
        raise UnsupportedSceneError(what, where=where, remedy=remedy)


def grid_warnings(dataset: DatasetReader, grid: Grid) -> list[str | SceneWarning]:
    """What is to be known of how a scene is placed, and of the dataset that its grid comes from."""
    crs = grid.crs
    found: list[str | SceneWarning] = []
    points = dataset.gcps[0]
    nowhere = crs is None or not grid.placed
    if nowhere and points:
        found.append(
            f"placed only by {counted(len(points), 'ground control point')}: treated as without coordinates, no areas "
            "in m²; the points are kept on the products"
        )
    elif nowhere and dataset.rpcs is not None:
        found.append(
            "placed only by rational polynomials (RPC): treated as without coordinates, no areas in m²; "
            "the polynomials are kept on the products"
        )
    elif crs is None:
        what = "no coordinate reference system: no areas in m², and the products have none either"
        remedy = "give it one (gdal_edit.py -a_srs EPSG:...)"
        found.append(SceneWarning("no_crs", what, remedy))
    elif not grid.placed:
        found.append("no transform from pixels to coordinates: no areas in m²")
    elif crs.is_geographic and (place := off_the_globe(crs, grid.transform, *grid.shape)):
        corner = f"({place[0]:.12g}, {place[1]:.12g})"
        what = f"its CRS is in degrees, but its corner at {corner} is on no globe: no areas in m²"
        remedy = "give it the CRS that its coordinates are in (gdal_edit.py -a_srs EPSG:...)"
        found.append(SceneWarning("off_globe", what, remedy))
    else:
        found.extend(_area_warnings(grid, crs))
    if dataset.colorinterp[0] == ColorInterp.palette:
        found.append("band 1 is a palette: its pixels are color numbers, not measurements")
    if dataset.subdatasets:
        found.append(f"the file holds {len(dataset.subdatasets)} images: the first is used")
    return found


def sidecar_warnings(dataset: DatasetReader, uri: str) -> list[SceneWarning]:
    """Files that lie beside a file and that GDAL passes over in silence: they are damaged."""
    found = []
    name = os.path.basename(uri)
    if MaskFlags.per_dataset not in dataset.mask_flag_enums[0] and os.path.isfile(f"{uri}.msk"):
        what = f"the mask beside it ({name}.msk) cannot be read: what it hides counts as data"
        found.append(SceneWarning("mask_unread", what, "make it anew, or remove it if it is not wanted"))
    if is_broken(uri, dataset.files):
        what = f"the file beside it ({name}.aux.xml) cannot be read: what it says of nodata, values and place is lost"
        remedy = "it must begin with <PAMDataset>, and each element must end; else remove it, or make it anew"
        found.append(SceneWarning("aux_unread", what, remedy))
    return found


def _area_warnings(grid: Grid, crs: CRS) -> list[str]:
    areas = row_areas(crs, grid.transform, grid.height, grid.width)
    if areas is None:
        return ["areas in m² cannot be told from its coordinate reference system"]
    if math.isnan(areas.map_error):
        return ["the projection cannot be inverted here: areas in m² are those of the map"]
    if areas.map_error > TOLERANCE:
        error = f"up to {areas.map_error:.0%}" if areas.map_error < 10 else f"up to {areas.map_error:.0f} times"
        return [f"the map projection distorts areas by {error}: areas in m² are measured on the ellipsoid"]
    return []


def option_warnings(ref: SceneRef, bands: Sequence[str], options: ReaderOptions) -> list[SceneWarning]:
    """Options that say nothing of a scene although they are given; `bands` are the names of all its bands."""
    found = options.values.warnings(ref, bands)
    if what := misfit(ref.id, options.date):
        remedy = "correct the option date, or the name of the scene; if the name holds no date, nothing is to be done"
        found.append(SceneWarning("date_unfit", what, remedy, suspect=False))
    return found


def date_attributes(dataset: DatasetReader, ref: SceneRef, options: ReaderOptions, files: str = "") -> dict[str, str]:
    """When the scene was taken, if anything says so (`hdm_geotiff.dates`); `files` is what names of its files tell."""
    found = acquisition(ref.id, dataset.tags(), dataset.tags(ns="IMAGERY"), options.date, files)
    return {} if found is None else found.attributes()


def placing(dataset: DatasetReader) -> dict[str, Any]:
    """What else places a dataset: the writers of this plug-in need it, and the contract has no field for it."""
    found: dict[str, Any] = {}
    points, crs = dataset.gcps
    if points:
        found["gcps"] = [[p.row, p.col, p.x, p.y, p.z, p.id, p.info] for p in points]
        found["gcps_crs_wkt"] = crs.to_wkt() if crs else None
    if dataset.rpcs is not None:
        found["rpcs"] = dataset.rpcs.to_gdal()
    return found
