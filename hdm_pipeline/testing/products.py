"""A product to try writers on: every mask value, nodata in a corner and across, odd sizes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hdm_pipeline.contracts import Band, ClassInfo, Product, Provenance, RasterGeometry, SceneHeader, SceneRef
from hdm_pipeline.grid import Window
from hdm_pipeline.stitch import labels

_THRESHOLD = 0.7

_WKT = (
    'GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563,AUTHORITY["EPSG","7030"]],'
    'AUTHORITY["EPSG","6326"]],PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433],AUTHORITY["EPSG","4326"]]'
)


class ComputedScores:
    """Scores of a scene of any size, computed where they are read (a `contracts.PixelSource`).

    Attributes:
        shape: (classes, z, y, x).
    """

    def __init__(self, shape: tuple[int, int, int, int]) -> None:
        self.shape = shape

    def read(self, window: Window) -> npt.NDArray[np.uint8]:
        """[classes, height, width] uint8."""
        y = np.arange(window.y, window.bottom)[:, None]
        x = np.arange(window.x, window.right)[None, :]
        phases = np.arange(self.shape[0])[:, None, None] * 2.1 + window.z * 0.1
        waves = np.sin(y / 23.0 + phases) * np.cos(x / 31.0 - phases)
        return np.round(127.5 + 127.5 * waves).astype(np.uint8)


class ComputedMask:
    """The mask of `ComputedScores`, with a corner and some rows of nodata (a `contracts.PixelSource`).

    Attributes:
        shape: (1, z, y, x).
    """

    def __init__(self, scores: ComputedScores, *, empty: bool) -> None:
        self.shape = (1, *scores.shape[1:])
        self._scores = scores
        self._empty = empty

    def read(self, window: Window) -> npt.NDArray[np.uint8]:
        """[1, height, width] uint8."""
        y = np.arange(window.y, window.bottom)[:, None]
        x = np.arange(window.x, window.right)[None, :]
        valid = (y + x >= 40) & (y % 97 != 0) & (not self._empty)
        return labels(self._scores.read(window), valid, _THRESHOLD)[None]


def example_header(height: int = 1100, width: int = 1300, *, scene: str = "example") -> SceneHeader:
    """The header of a georeferenced raster of two bands."""
    ref = SceneRef(scene, f"/archive/{scene}.tif", "example", "1")
    geometry = RasterGeometry((0.0001, 0.0, 12.5, 0.0, -0.0001, 41.25), _WKT)
    return SceneHeader(ref, (2, 1, height, width), "float32", (Band("VV", "dB"), Band("VH", "dB")), geometry)


def example_product(
    header: SceneHeader | None = None, classes: tuple[ClassInfo, ...] | None = None, *, empty: bool = False
) -> Product:
    """A product of a scene.

    Args:
        header: of the scene; of `example_header` by default.
        classes: with values 1, 2, ...; two by default.
        empty: no pixel holds data: the mask is 255 everywhere.
    """
    header = header or example_header()
    classes = classes or (ClassInfo(1, "flood", (30, 90, 220)), ClassInfo(2, "permanent water", (20, 200, 160)))
    _, depth, height, width = header.shape
    scores = ComputedScores((len(classes), depth, height, width))
    return Product(
        scene=header,
        classes=classes,
        mask=ComputedMask(scores, empty=empty),
        score=scores,
        block=(min(512, height), min(512, width)),
        provenance=Provenance("0.0.0", "a" * 64, "b" * 64, "c" * 64, _THRESHOLD, "example"),
        uncertainty=ComputedScores((len(classes), depth, height, width)),
        picture=_picture(),
    )


def _picture() -> npt.NDArray[np.uint8]:
    """[y, x, 3] colors that tell rows from columns."""
    y, x = np.mgrid[:96, :120].astype(np.uint8)
    return np.stack([y, x, y + x], axis=2)
