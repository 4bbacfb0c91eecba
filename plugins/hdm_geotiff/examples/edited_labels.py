"""Polygons of labels that a person changed in another program, as pixels again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import pyogrio
import shapely
from affine import Affine
from pyproj import CRS
from rasterio.features import rasterize

from hdm_geotiff.examples.drawing import Canvas, shapes_of
from hdm_geotiff.examples.geometries import Geometries
from hdm_geotiff.examples.vector_file import VectorFile
from hdm_geotiff.files.environment import gdal_environment
from hdm_geotiff.scenes.raster_grid import Grid
from hdm_pipeline.contracts import IGNORE, LabelPatch, Selection, VectorLabels
from hdm_pipeline.errors import SupportError
from hdm_pipeline.grid import Window

_SIDE = 512


def patches_of(path: str, attribute: str, values: Mapping[str, int], grid: Grid) -> tuple[LabelPatch, ...]:
    """What the features of a file say of the pixels of a scene, as `read_support` would take it.

    Args:
        path: of the file.
        attribute: that names the class of a feature.
        values: label values by what the attribute says; 255 for what is unknown.
        grid: of the scene; it has a CRS.

    Raises:
        SupportError: the file cannot be read, or holds a class that is not among `values`.
    """
    assert grid.crs is not None
    canvas = Canvas(grid.height, grid.width, grid.transform, CRS.from_wkt(grid.crs.to_wkt()))
    file = VectorFile(path)
    crs, _ = file.crs(file.layer(Selection()), None)
    _check_names(path, file, attribute, values)
    polygons: list[Geometries] = []
    touched: list[Geometries] = []
    of_polygons: list[int] = []
    of_touched: list[int] = []
    for name, value in values.items():
        if value == IGNORE:
            continue
        where = f"\"{attribute}\" = '{name.replace(chr(39), chr(39) * 2)}'"
        shapes, _ = shapes_of(file.features(Selection(where=where)), crs, canvas, VectorLabels())
        polygons.append(shapes.polygons)
        of_polygons += [value] * len(shapes.polygons)
        touched += [shapes.lines, shapes.points]
        of_touched += [value] * (len(shapes.lines) + len(shapes.points))
    areas, marks = (np.concatenate([np.empty(0, dtype=object), *parts]) for parts in (polygons, touched))
    order = np.argsort(-shapely.area(areas), kind="stable")  # the smaller polygon lies on top
    made = (
        LabelPatch(window, _burned(window, areas[order], np.array(of_polygons)[order], marks, np.array(of_touched)))
        for window in _windows(np.concatenate([areas, marks]), grid)
    )
    return tuple(patch for patch in made if (patch.values != IGNORE).any())


def _check_names(path: str, file: VectorFile, attribute: str, values: Mapping[str, int]) -> None:
    layer = file.layer(Selection())
    fields = [str(name) for name in pyogrio.read_info(path, layer=layer)["fields"]]
    remedy = f"correct it there, or remove the file: the labels are then those of the GeoTIFF beside it ({attribute})"
    if attribute not in fields:
        raise SupportError(f"its features have no attribute {attribute!r}", where=path, remedy=remedy)
    _, _, _, columns = pyogrio.raw.read(path, layer=layer, columns=[attribute], read_geometry=False)
    strange = sorted({str(name) for name in columns[0]} - set(values))
    if strange:
        known = ", ".join(values)
        raise SupportError(f"a feature is of class {strange[0]!r}; known are {known}", where=path, remedy=remedy)


def _windows(shapes: Geometries, grid: Grid) -> Iterator[Window]:
    """Cells of a lattice that a shape may reach into, in order of rows and columns."""
    cells: set[tuple[int, int]] = set()
    last = (grid.height - 1) // _SIDE, (grid.width - 1) // _SIDE
    for left, top, right, bottom in shapely.bounds(shapes):
        rows = range(max(0, int(top) // _SIDE), min(last[0], int(bottom) // _SIDE) + 1)
        columns = range(max(0, int(left) // _SIDE), min(last[1], int(right) // _SIDE) + 1)
        cells |= {(row, column) for row in rows for column in columns}
    for row, column in sorted(cells):
        y, x = row * _SIDE, column * _SIDE
        yield Window(z=0, y=y, x=x, height=min(_SIDE, grid.height - y), width=min(_SIDE, grid.width - x))


def _burned(
    window: Window,
    areas: Geometries,
    of_areas: npt.NDArray[np.int64],
    marks: Geometries,
    of_marks: npt.NDArray[np.int64],
) -> npt.NDArray[np.uint8]:
    label = np.full((window.height, window.width), IGNORE, dtype=np.uint8)
    box = shapely.box(window.x, window.y, window.right, window.bottom)
    for shapes, values, touched in ((areas, of_areas, False), (marks, of_marks, True)):
        near = shapely.intersects(shapes, box)
        pairs = [(shape, int(value)) for shape, value in zip(shapes[near], values[near], strict=True)]
        if pairs:
            with gdal_environment():
                place = Affine.translation(window.x, window.y)
                rasterize(pairs, out=label, transform=place, all_touched=touched)
    return label
