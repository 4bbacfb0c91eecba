"""Products of rasters for tests of writers: scenes described by hand, pixels from arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.crs import CRS

from hdm_pipeline.contracts import Band, ClassInfo, Product, Provenance, RasterGeometry, SceneHeader, SceneRef
from hdm_pipeline.grid import Window

UTM_TRANSFORM = (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_800_000.0)
CLASSES = (ClassInfo(1, "flood", (30, 100, 220)), ClassInfo(2, "crue é <&>", (200, 0, 0)))
PROVENANCE = Provenance("1.2.3", "pipe", "weights", "support", 0.5, "hdmnet")


class ArraySource:
    """A `PixelSource` over an array [bands, y, x] that remembers the largest window asked for."""

    def __init__(self, array: npt.NDArray[np.uint8]) -> None:
        self.shape = (array.shape[0], 1, *array.shape[1:])
        self.largest = 0
        self._array = array

    def read(self, window: Window) -> npt.NDArray[np.uint8]:
        self.largest = max(self.largest, window.pixels)
        return self._array[:, window.y : window.bottom, window.x : window.right]


def scene(
    height: int,
    width: int,
    *,
    transform: tuple[float, ...] = UTM_TRANSFORM,
    crs: str | None = "EPSG:32633",
    attributes: Mapping[str, Any] | None = None,
) -> SceneHeader:
    """A header of a scene that no file stands behind."""
    wkt = CRS.from_user_input(crs).to_wkt() if crs else None
    a, b, c, d, e, f = transform
    geometry = RasterGeometry((a, b, c, d, e, f), wkt)
    ref = SceneRef("scene", "/nowhere/scene.tif", "geotiff", "1")
    return SceneHeader(ref, (1, 1, height, width), "uint8", (Band(),), geometry, attributes=dict(attributes or {}))


def pattern(height: int, width: int) -> npt.NDArray[np.uint8]:
    """A mask [1, y, x] with both classes, background, and a corner without data."""
    y, x = np.ogrid[:height, :width]
    mask = ((np.sin(y / 9.0) + np.cos(x / 13.0)) * 1.5).clip(0, 2).astype(np.uint8)
    mask[x + y < (height + width) // 5] = 255
    return mask[None]


def product(header: SceneHeader, mask: npt.NDArray[np.uint8] | None = None) -> Product:
    """A product of two classes; scores that hold every value, also in pixels that are valid."""
    _, _, height, width = header.shape
    mask = pattern(height, width) if mask is None else mask
    y, x = np.ogrid[:height, :width]
    scores = np.stack([(y + x) % 256, (3 * y + x) % 256]).astype(np.uint8)
    return Product(header, CLASSES, ArraySource(mask), ArraySource(scores), (256, 1024), PROVENANCE)
