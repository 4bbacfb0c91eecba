"""Blocks leave no seam in polygons, whatever the mask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import shapely
from rasterio import features
from scipy import ndimage

from tests.raster_product import ArraySource, pattern
from tests.unit.geotiff.drawn_regions import (
    NOWHERE,
    SHAPES,
    Mask,
    made_of,
    written,
)


def in_order(shapes: npt.NDArray[Any], classes: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """An order of regions that does not depend on how they were found: by the upper left vertex, then by class."""
    corners = [min((y, x) for x, y in shape.exterior.coords) for shape in shapes]
    return np.array(sorted(range(len(shapes)), key=lambda i: (*corners[i], classes[i])), dtype=np.int64)


def check_whole(mask: Mask, folder: Path, block: tuple[int, int]) -> int:
    """The polygons of a mask in blocks are those that GDAL finds in the whole; returns their number."""
    found = written(made_of(mask, block, **NOWHERE), folder)
    shapes, classes = found["shapes"], found["class_id"]
    labelled = np.where(mask == 255, 0, mask)
    whole = [(shapely.geometry.shape(one), int(value)) for one, value in features.shapes(labelled, labelled != 0)]
    expected, values = np.array([one for one, _ in whole], dtype=object), np.array([value for _, value in whole])
    assert len(shapes) == len(expected)
    assert shapely.is_valid(shapes).all()
    assert (shapely.area(shapes) == found["pixels"]).all()
    one, other = in_order(shapes, classes), in_order(expected, values)
    assert (classes[one] == values[other]).all()
    assert shapely.equals(shapes[one], expected[other]).all()
    assert (shapely.get_num_coordinates(shapes[one]) == shapely.get_num_coordinates(expected[other])).all()
    return len(shapes)


BLOCKS = [(1, 7), (5, 1000), (8, 8), (1000, 1000)]


@pytest.mark.parametrize("block", BLOCKS, ids=str)
@pytest.mark.parametrize("name", SHAPES)
def test_blocks_leave_no_seam_in_adversarial_masks(tmp_path: Path, name: str, block: tuple[int, int]) -> None:
    mask = SHAPES[name](29)
    count = check_whole(mask, tmp_path, block)
    assert count == sum(ndimage.label(mask == value)[1] for value in (1, 2))


@pytest.mark.parametrize("seed", range(12))
def test_blocks_leave_no_seam_in_random_masks(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 60, 2)
    mask = rng.choice(np.array([0, 1, 2, 255], np.uint8), (height, width), p=[0.3, 0.45, 0.2, 0.05])
    if seed % 3 == 0:
        mask = ndimage.grey_dilation(mask, 3)
    check_whole(mask, tmp_path, (int(rng.integers(1, 20)), int(rng.integers(1, 70))))


def test_a_wide_mask_is_read_in_few_rows_and_keeps_its_polygons(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("hdm_geotiff.polygons.polygonize._READ_PIXELS", 1500)
    monkeypatch.setattr("hdm_geotiff.polygons.polygonize._STRIP_PIXELS", 700)
    mask = np.where(pattern(60, 300)[0] == 255, 255, pattern(60, 300)[0]).astype(np.uint8)
    made = made_of(mask, (40, 64), **NOWHERE)
    found = written(made, tmp_path)
    assert isinstance(made.mask, ArraySource)
    assert made.mask.largest <= 5 * 64
    assert sorted(found["pixels"]) == sorted(
        size for value in (1, 2) for size in np.bincount(ndimage.label(mask == value)[0].ravel())[1:]
    )
