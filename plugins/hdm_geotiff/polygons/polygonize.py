"""From the mask of a scene to a file of polygons, strip by strip."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from pyproj.exceptions import ProjError

from hdm_geotiff.files.environment import GDAL_ERRORS
from hdm_geotiff.files.failures import what_stops_writing, write_error
from hdm_geotiff.polygons.contours import Bytes
from hdm_geotiff.polygons.cycles import Rings, columns_of, rows_of
from hdm_geotiff.polygons.options import Amount, PolygonOptions
from hdm_geotiff.polygons.places import Ground, GroundAreas, ground_of
from hdm_geotiff.polygons.regions import Regions, RegionTracer, Sums
from hdm_geotiff.polygons.vector_files import FORMATS, VECTOR_ERRORS, Batches, Columns
from hdm_geotiff.scenes.pixel_areas import Floats
from hdm_pipeline.contracts import NODATA, Product, SceneHeader
from hdm_pipeline.errors import WriteError
from hdm_pipeline.grid import Window

_READ_PIXELS = 4 * 2**20
"""Read at once: fewer rows would decode the chunks of the scores several times."""

_STRIP_PIXELS = 2**19
"""Outlined at once: more would not be faster."""


def write_polygons(product: Product, path: Path, options: PolygonOptions, facts: Mapping[str, str]) -> None:
    """Write one polygon for each connected region of a class.

    Args:
        product: the scene.
        path: the file, in an existing folder; it appears there by renaming.
        options: format, simplification and least area.
        facts: texts for the file's metadata; ``HDM_DATETIME`` among them is the date of each polygon.

    Raises:
        OutputError: the folder is not writable, or the disk is full.
        WriteError: the scene's place is not known well enough, or any other failure.
    """
    ground = ground_of(product.scene)
    try:
        maker = _Maker.of(product, ground, options, facts.get("HDM_DATETIME"))
        with tempfile.TemporaryDirectory(prefix=".polygons-", dir=path.parent) as folder:
            made = Path(folder, path.name).with_suffix(f".{options.format}")
            batches = Batches(FORMATS[options.format](made, ground.crs_wkt, facts), maker.columns(Sums.none()))
            try:
                for regions in regions_of(product, GroundAreas.of(ground, product.scene)):
                    chosen = maker.large_enough(regions)
                    if chosen.sums.values.size:
                        batches.add(maker.shapes(chosen), maker.columns(chosen.sums))
                batches.close()
                os.replace(made, path)
            except (*GDAL_ERRORS, *VECTOR_ERRORS) as error:
                raise write_error(error, path, what_stops_writing(Path(folder), 0)) from error
            finally:
                batches.give_up()
    except ProjError as error:
        remedy = "mend its georeference, or leave polygons out"
        raise WriteError(
            f"its coordinates cannot be used: {error}", where=product.scene.ref.id, remedy=remedy
        ) from error
    except OSError as error:
        raise write_error(error, path, error) from error


def regions_of(product: Product, areas: GroundAreas | None) -> Iterator[Regions]:
    """The regions of a mask, in the order in which they end."""
    tracer = RegionTracer(product.scene.shape[3])
    rows = max(1, _STRIP_PIXELS // product.scene.shape[3])
    for classes, scores in _strips(product):
        for top in range(0, len(classes), rows):
            yield tracer.feed(classes[top : top + rows], scores[top : top + rows], areas)
    yield tracer.finish()


def _strips(product: Product) -> Iterator[tuple[Bytes, Bytes]]:
    """Rows of the mask, 0 where no class is, and the score of each pixel's class; read block by block."""
    _, _, height, width = product.scene.shape
    block_height, block_width = product.block
    rows = math.ceil(block_height / math.ceil(block_height * width / _READ_PIXELS))
    for block in range(0, height, block_height):
        bottom = min(block + block_height, height)
        for top in range(block, bottom, rows):
            shape = min(rows, bottom - top), width
            classes, scores = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
            for x in range(0, width, block_width):
                window = Window(z=0, y=top, x=x, height=shape[0], width=min(block_width, width - x))
                _read(product, window, classes[:, x : window.right], scores[:, x : window.right])
            yield classes, scores


def _read(product: Product, window: Window, classes: Bytes, scores: Bytes) -> None:
    mask = product.mask.read(window)[0]
    np.multiply(mask, mask != NODATA, out=classes)
    if not classes.any():
        return
    read = product.score.read(window)
    if len(product.classes) == 1:
        scores[...] = read[0]
        return
    for one, score in zip(product.classes, read, strict=True):
        np.copyto(scores, score, where=classes == one.value)


@dataclass(frozen=True, eq=False)
class _Maker:
    """Makes shapes and columns of regions.

    Attributes:
        ground: where the scene lies.
        names: [256] names of the classes by value.
        scene: the scene's id.
        date: when it was taken; NaT if unknown.
        least: (pixels, square metres) of the smallest region to keep.
        tolerance: of simplifying, in `unit`s; 0 for none.
        unit: (across, down) of a pixel, for simplifying.
        has_areas: whether square metres are known.
    """

    ground: Ground
    names: npt.NDArray[np.object_]
    scene: str
    date: np.datetime64
    least: tuple[float, float]
    tolerance: float
    unit: tuple[float, float]
    has_areas: bool

    @classmethod
    def of(cls, product: Product, ground: Ground, options: PolygonOptions, date: str | None) -> _Maker:
        names = np.full(256, "", dtype=object)
        for one in product.classes:
            names[one.value] = one.name
        scene = product.scene
        has_areas = GroundAreas.of(ground, scene) is not None
        least, simplify = options.min_area or Amount(0, "px"), options.simplify or Amount(0, "px")
        _check_amounts(scene.ref.id, ground, options, has_areas=has_areas)
        unit = ground.metres if simplify.unit == "m" and ground.metres is not None else (1.0, 1.0)
        small = (least.value, 0.0) if least.unit == "px" else (0.0, least.value)
        day = np.datetime64((date or "NaT")[:10], "D")
        return cls(ground, names, scene.ref.id, day, small, simplify.value, unit, has_areas)

    def large_enough(self, regions: Regions) -> Regions:
        """Without those that are smaller than the least area."""
        chosen = (regions.sums.pixels >= self.least[0]) & (regions.sums.areas >= self.least[1])
        if chosen.all():
            return regions
        rings = regions.rings.take(chosen[regions.rings.regions])
        return Regions(regions.sums.take(chosen), rings.of((np.cumsum(chosen) - 1)[rings.regions]))

    def shapes(self, regions: Regions) -> npt.NDArray[np.object_]:
        """[regions] WKB of their polygons."""
        if self.tolerance:
            across, down = self.unit
            shapes = _polygons(regions, lambda columns, rows: (columns * across, rows * down), reverse=False)
            shapes = shapely.simplify(shapes, self.tolerance, preserve_topology=True)
            shapes = shapely.transform(
                shapes, lambda at: np.stack(self.ground.place(at[:, 0] / across, at[:, 1] / down), axis=1)
            )
            if self.ground.mirrored:
                shapes = shapely.reverse(shapes)
        else:
            shapes = _polygons(regions, self.ground.place, reverse=self.ground.mirrored)
        return np.asarray(shapely.to_wkb(shapes, flavor="iso"), dtype=object)

    def columns(self, sums: Sums) -> Columns:
        """Attributes of regions. Names of ten letters at most: longer ones would not survive a Shapefile."""
        count = sums.values.size
        return {
            "class": self.names[sums.values],
            "class_id": sums.values.astype(np.int32),
            "area_m2": sums.areas if self.has_areas else np.full(count, np.nan),
            "pixels": sums.pixels,
            "score": np.round(sums.scores / (255 * sums.pixels), 4),
            "scene": np.full(count, self.scene, dtype=object),
            "date": np.full(count, self.date),
        }


def check_amounts(scene: SceneHeader, options: PolygonOptions) -> None:
    """Check that a scene has what the options ask for, by its header.

    Raises:
        WriteError: it has no place that polygons could have, or an amount is in metres and it has no coordinates.
    """
    ground = ground_of(scene)
    _check_amounts(scene.ref.id, ground, options, has_areas=GroundAreas.of(ground, scene) is not None)


def _check_amounts(scene: str, ground: Ground, options: PolygonOptions, *, has_areas: bool) -> None:
    if options.simplify is not None and options.simplify.unit == "m" and ground.metres is None:
        raise _needs_metres("simplify", "'2 px'", scene)
    if options.min_area is not None and options.min_area.unit == "m2" and not has_areas:
        raise _needs_metres("min_area", "'9 px'", scene)


def _needs_metres(option: str, instead: str, scene: str) -> WriteError:
    remedy = f"give {option} in pixels ({instead}), or give the scene coordinates"
    return WriteError(f"{option} in metres needs coordinates, and the scene has none", where=scene, remedy=remedy)


def _polygons(regions: Regions, place: Any, *, reverse: bool) -> npt.NDArray[np.object_]:
    """[regions] polygons; outer rings counter-clockwise in coordinates where `reverse` fits the place."""
    codes, offsets = _closed(regions.rings, reverse=reverse)
    x, y = place(columns_of(codes).astype(np.float64), rows_of(codes).astype(np.float64))
    points: Floats = np.stack([x, y], axis=1)
    rings = np.cumsum(np.bincount(regions.rings.regions, minlength=regions.sums.values.size))
    found = shapely.from_ragged_array(shapely.GeometryType.POLYGON, points, (offsets, np.append(0, rings)))
    return np.asarray(found, dtype=object)


def _closed(rings: Rings, *, reverse: bool) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Codes of rings that end with their first vertex, and where each begins [rings + 1]."""
    lengths = rings.lengths + 1
    offsets = np.append(0, np.cumsum(lengths))
    step = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    own = np.repeat(rings.lengths, lengths)
    step = (own - step if reverse else step) % own
    return rings.codes[step + np.repeat(rings.starts, lengths)], offsets
