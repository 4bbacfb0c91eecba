"""Labels that are drawn on a small image, read, and compared with what is expected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from affine import Affine
from shapely.geometry import Polygon, box

from hdm_geotiff.reader import GeoTiffReader
from hdm_pipeline.contracts import LabeledImage, Selection, SupportRequest, VectorLabels
from hdm_pipeline.errors import SupportError
from tests.unit.geotiff.conftest import CHIP_SIZE, UTM

FLOOD = "flood"
DRY = "dry"
UNSURE = "unsure"
AREA = "area"
ALL_FORMATS = ("a.gpkg", "a.geojson", "a.json", "a.fgb", "a.shp", "a.parquet", "a.geoparquet")


def at(left: float, top: float, right: float, bottom: float) -> Polygon:
    """A box of pixels in the coordinates of the image."""
    grid: Affine = UTM["transform"]
    return box(*(grid * (left, bottom)), *(grid * (right, top)))


def place(column: float, row: float) -> tuple[float, float]:
    """A position in pixels in the coordinates of the image."""
    return UTM["transform"] * (column, row)  # type: ignore[no-any-return]


def selected(name: str) -> Selection:
    return Selection(where=f"class = '{name}'")


def read(image: Path, labels: Path | str, **vector: Any) -> list[LabeledImage]:
    return GeoTiffReader().read_support(SupportRequest(str(image), str(labels), vector=VectorLabels(**vector)))


def label_of(image: Path, labels: Path, **vector: Any) -> npt.NDArray[np.uint8]:
    (example,) = read(image, labels, **vector)
    return example.label


def expected(*boxes: tuple[int, int, int, int, int], size: int = CHIP_SIZE, rest: int = 255) -> npt.NDArray[np.uint8]:
    """A label of boxes (left, top, right, bottom, value), later ones on top."""
    label = np.full((size, size), rest, dtype=np.uint8)
    for left, top, right, bottom, value in boxes:
        label[top:bottom, left:right] = value
    return label


def refused(image: Path, labels: Path | str, match: str, **vector: Any) -> SupportError:
    with pytest.raises(SupportError, match=match) as caught:
        read(image, labels, **vector)
    assert caught.value.remedy
    assert str(labels) in caught.value.where or str(image) in caught.value.where
    if "holds no data" not in match:  # what a run would refuse, a plan refuses
        request = SupportRequest(str(image), str(labels), vector=VectorLabels(**vector))
        with pytest.raises(SupportError, match=match):
            GeoTiffReader().vector_identity(request)
    return caught.value
