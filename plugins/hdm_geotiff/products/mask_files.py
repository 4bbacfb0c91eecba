"""Masks that a run published, by their headers: where each lies, and what its values mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform_bounds

from hdm_geotiff.files.environment import GDAL_ERRORS, gdal_environment, reading
from hdm_geotiff.scenes.pixel_areas import affine_place
from hdm_pipeline.contracts import (
    BACKGROUND,
    NODATA,
    Band,
    ClassInfo,
    RasterGeometry,
    RunCatalog,
    SceneHeader,
    SceneRef,
)

MASK = "mask.tif"

Bounds: TypeAlias = tuple[float, float, float, float]
"""(left, bottom, right, top)."""


@dataclass(frozen=True)
class MaskFile:
    """A published mask.

    Attributes:
        scene: id of its scene.
        path: of the file.
        width: columns.
        height: rows.
        transform: from pixels to coordinates; the identity if it has none.
        crs_wkt: None if it has none.
        classes: by ascending value.
    """

    scene: str
    path: Path
    width: int
    height: int
    transform: tuple[float, float, float, float, float, float]
    crs_wkt: str | None
    classes: tuple[ClassInfo, ...]

    @property
    def grid(self) -> tuple[object, ...]:
        """What two masks have in common whose pixels lie on each other."""
        return self.width, self.height, self.transform, self.crs_wkt

    @property
    def affine(self) -> Affine:
        """The transform."""
        return Affine(*self.transform)

    @property
    def bounds(self) -> Bounds:
        """Where it lies in its own CRS."""
        columns, rows = np.array([0.0, 1.0, 0.0, 1.0]) * self.width, np.array([0.0, 0.0, 1.0, 1.0]) * self.height
        x, y = affine_place(self.affine)(columns, rows)
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())

    def bounds_in(self, crs_wkt: str) -> Bounds | None:
        """Where it lies in another CRS; None if nothing leads there, as from Mars to Earth."""
        if crs_wkt == self.crs_wkt or self.crs_wkt is None:
            return self.bounds
        try:
            with gdal_environment():
                box = transform_bounds(CRS.from_wkt(self.crs_wkt), CRS.from_wkt(crs_wkt), *self.bounds)
        except GDAL_ERRORS:
            return None
        left, bottom, right, top = map(float, box)
        return left, bottom, right, top

    def header(self, scene: str, shape: tuple[int, int] | None = None) -> SceneHeader:
        """The header of a raster on this mask's grid, for writing."""
        height, width = shape or (self.height, self.width)
        ref = SceneRef(scene, str(self.path), "geotiff", "1")
        return SceneHeader(ref, (1, 1, height, width), "uint8", (Band(),), RasterGeometry(self.transform, self.crs_wkt))


def read_mask_file(scene: str, path: Path) -> MaskFile:
    """Read the header of a mask.

    Raises:
        ReadError: it cannot be read.
    """
    with reading(str(path), "open the mask", instead="run the pipeline again"), rasterio.open(path) as file:
        tags, colors = file.tags(1), file.colormap(1)
        classes = []
        for value in range(BACKGROUND + 1, NODATA):
            if (name := tags.get(f"CLASS_{value}")) is not None:
                red, green, blue, _ = colors[value]
                classes.append(ClassInfo(value, name, (red, green, blue)))
        a, b, c, d, e, f = tuple(file.transform)[:6]
        wkt = file.crs.to_wkt() if file.crs else None
        return MaskFile(scene, path, file.width, file.height, (a, b, c, d, e, f), wkt, tuple(classes))


def masks_of(run: RunCatalog) -> Mapping[str, Path]:
    """Paths of the masks of an output directory, by scene."""
    return {entry.scene: file for entry in run.entries for file in entry.files if file.name == MASK}
