"""Where the pixels of a scene lie, and how large they are, for products made of coordinates.

The area of a polygon is the sum of the areas of its pixels on the ellipsoid, as `hdm_geotiff.scenes.pixel_areas`
measures them, not a geodesic polygon of its corners: a pixel's upper side is a parallel or a straight line on the map,
and no geodesic. Areas change smoothly, so they are measured on an even lattice and interpolated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
from affine import Affine
from pyproj.exceptions import ProjError
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.transform import GCPTransformer

from hdm_geotiff.files.environment import GDAL_ERRORS, gdal_environment
from hdm_geotiff.polygons.cycles import Ints
from hdm_geotiff.scenes.pixel_areas import Floats, Place, affine_place, equal_area_map, pixel_sides, row_areas
from hdm_pipeline.contracts import RasterGeometry, SceneHeader
from hdm_pipeline.errors import WriteError

_LATTICE = 65


@dataclass(frozen=True, eq=False)
class Ground:
    """Where a scene lies.

    Attributes:
        crs_wkt: of the coordinates; None if they are pixels, or nothing says which.
        place: from columns and rows to coordinates.
        metres: (across, down) sides in metres of the pixel in the scene's middle; None where they are unknown.
    """

    crs_wkt: str | None
    place: Place
    metres: tuple[float, float] | None

    @property
    def mirrored(self) -> bool:
        """Whether what goes clockwise in rows and columns goes clockwise in coordinates: north is up."""
        x, y = self.place(np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0]))
        return bool((x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0]) < 0)


def ground_of(scene: SceneHeader) -> Ground:
    """Where a scene lies: by its transform, else by its ground control points, else nowhere (pixels).

    Ground control points are fitted exactly (thin plate splines; an affine map if there are no more than three).

    Raises:
        WriteError: it is a volume, its transform maps everything to a line, its ground control points tell no place, or
            only rational polynomials place it.
    """
    geometry, where = scene.geometry, scene.ref.id
    if not isinstance(geometry, RasterGeometry):
        remedy = "choose products of the medical plug-in for volumes"
        raise WriteError("a volume has no polygons", where=where, remedy=remedy)
    transform = Affine(*geometry.transform)
    if not transform.determinant:
        raise WriteError("its transform maps all pixels to a line", where=where, remedy="mend its georeference")
    if transform != Affine.identity():
        return _grounded(geometry.crs_wkt, affine_place(transform), scene)
    if points := scene.attributes.get("gcps"):
        return _grounded(scene.attributes.get("gcps_crs_wkt"), _by_points(points, where), scene)
    if scene.attributes.get("rpcs"):
        what = "polygons of a scene that only rational polynomials (RPC) place would need a terrain model"
        raise WriteError(what, where=where, remedy="orthorectify it first (gdalwarp -rpc), or leave polygons out")
    return Ground(None, affine_place(transform), None)


def _by_points(points: list[list[Any]], where: str) -> Place:
    names = ("row", "col", "x", "y", "z", "id", "info")
    given = [GroundControlPoint(**dict(zip(names, point, strict=True))) for point in points]
    numbers = np.array([[one.row, one.col, one.x, one.y] for one in given], dtype=np.float64)
    if not np.isfinite(numbers).all() or not (_spread(numbers[:, :2]) and _spread(numbers[:, 2:])):
        raise _no_place(len(points), where)
    try:
        with gdal_environment():
            transformer = GCPTransformer(given, tps=len(points) > 3)
    except GDAL_ERRORS as error:
        raise _no_place(len(points), where) from error

    def place(columns: Floats, rows: Floats) -> tuple[Floats, Floats]:
        x, y = transformer.xy(rows.reshape(-1), columns.reshape(-1), offset="ul")
        return np.asarray(x, dtype=np.float64).reshape(rows.shape), np.asarray(y, dtype=np.float64).reshape(rows.shape)

    return place


def _spread(places: Floats) -> bool:
    """Whether places [n, 2] span a plane: they are not all on one line."""
    return bool(np.linalg.matrix_rank(places - places.mean(axis=0), tol=None) == 2)


def _no_place(points: int, where: str) -> WriteError:
    what = f"its ground control points ({points}) do not tell where pixels lie: it takes three that are on no line"
    remedy = "give it more of them (gdal_edit.py -gcp), orthorectify it, or leave polygons out"
    return WriteError(what, where=where, remedy=remedy)


def _grounded(crs_wkt: str | None, place: Place, scene: SceneHeader) -> Ground:
    _, _, height, width = scene.shape
    return Ground(crs_wkt, place, None if crs_wkt is None else _metres(crs_wkt, place, height, width))


def _metres(crs_wkt: str, place: Place, height: int, width: int) -> tuple[float, float] | None:
    try:
        return pixel_sides(pyproj.CRS.from_wkt(crs_wkt), place, height, width)
    except ProjError:
        return None


class GroundAreas:
    """Square metres on the ellipsoid of stretches of pixels in a row.

    Args:
        table: [rows of the lattice, columns of the lattice] area of one pixel.
        rows: of the scene, [rows of the lattice], even.
        columns: of the scene, [columns of the lattice], even; a stretch is measured at its middle.
    """

    def __init__(self, table: Floats, rows: Floats, columns: Floats) -> None:
        self._table, self._rows, self._columns = table, rows, columns

    @classmethod
    def of(cls, ground: Ground, scene: SceneHeader) -> GroundAreas | None:
        """The areas of a scene's pixels; None where they cannot be told."""
        if ground.crs_wkt is None:
            return None
        _, _, height, width = scene.shape
        geometry, crs = scene.geometry, CRS.from_wkt(ground.crs_wkt)
        assert isinstance(geometry, RasterGeometry)
        transform = Affine(*geometry.transform)
        straight = transform != Affine.identity() and not (transform.b or transform.d)
        rows: Floats = np.arange(height, dtype=np.float64) + 0.5
        if not (straight and crs.is_geographic):
            measured = cls._measured(ground, height, width)
            if measured is not None:
                return measured
        by_row = row_areas(crs, transform, height, width)
        return None if by_row is None else cls(by_row.square_metres[:, None], rows, np.array([width / 2]))

    @classmethod
    def _measured(cls, ground: Ground, height: int, width: int) -> GroundAreas | None:
        equal_area = equal_area_map(ground.crs_wkt or "")
        if equal_area is None:
            return None
        rows: Floats = np.linspace(0.5, height - 0.5, min(height, _LATTICE), dtype=np.float64)
        columns: Floats = np.linspace(0.5, width - 0.5, min(width, _LATTICE), dtype=np.float64)
        # Squares of several pixels: a single small pixel would drown in the rounding of the projection's inverse.
        half = max(0.5, min(height, width) / 64)
        grid = np.meshgrid(rows, columns, indexing="ij")
        table = equal_area.cells(ground.place, grid[0].ravel(), grid[1].ravel(), half).reshape(grid[0].shape)
        return cls(table, rows, columns) if bool((np.isfinite(table) & (table > 0)).all()) else None

    def __call__(self, rows: Ints, columns: Ints, lengths: Ints) -> Floats:
        """[n] square metres of stretches: the row, the first column and the number of pixels of each."""
        y, fy = _between(self._rows, rows + 0.5)
        x, fx = _between(self._columns, columns + lengths / 2)
        flat, stride = self._table.reshape(-1), self._columns.size
        at = y * stride + x
        right, below = int(stride > 1), stride * int(self._rows.size > 1)
        upper = flat[at] * (1 - fx) + flat[at + right] * fx
        lower = flat[at + below] * (1 - fx) + flat[at + below + right] * fx
        return np.asarray((upper * (1 - fy) + lower * fy) * lengths)


def _between(lattice: Floats, values: npt.NDArray[np.floating[Any]]) -> tuple[Ints, Floats]:
    """The lattice point at or before each value, but never the last one, and how far it is to the next (0..1)."""
    if lattice.size == 1:
        return np.zeros(values.size, dtype=np.int64), np.zeros(values.size)
    place = (values - lattice[0]) / (lattice[1] - lattice[0])
    before = np.clip(np.floor(place), 0, lattice.size - 2).astype(np.int64)
    return before, place - before
