"""Labelled chips, good and bad."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from PIL import Image
from rasterio.warp import transform

from hdm_geotiff.examples import support
from hdm_geotiff.reader import GeoTiffReader
from hdm_pipeline.contracts import LabeledImage, SupportRequest
from hdm_pipeline.errors import SupportError
from tests.unit.geotiff.conftest import UTM, WriteTif

IMAGE = np.arange(2 * 4 * 5, dtype=np.float32).reshape(2, 4, 5)
MASK = np.zeros((4, 5), dtype=np.int16)
MASK[0], MASK[1, :2] = 1, -1


def read(image: Path, mask: Path, **request: Any) -> LabeledImage:
    (example,) = GeoTiffReader().read_support(SupportRequest(str(image), str(mask), **request))
    return example


def test_a_chip_is_read_with_all_its_bands(write_tif: WriteTif) -> None:
    image = write_tif("chip.tif", IMAGE, descriptions=("VV", "VH"))
    example = read(image, write_tif("mask.tif", MASK), ignore=(-1,))
    assert example.name == "chip.tif"
    assert np.array_equal(example.pixels, IMAGE)
    assert example.valid.all()
    assert [band.name for band in example.bands] == ["VV", "VH"]
    assert example.label.dtype == np.uint8
    assert example.label[:2].tolist() == [[1] * 5, [255, 255, 0, 0, 0]]
    assert not example.label[2:].any()


def test_png_masks_work(write_tif: WriteTif, tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    Image.fromarray(np.where(MASK == 1, 200, 0).astype(np.uint8)).save(path)
    example = read(write_tif("chip.tif", IMAGE), path, values=(200,))
    assert np.array_equal(example.label, MASK == 1)
    assert not path.with_suffix(".png.aux.xml").exists()


def test_several_values_mean_the_class(write_tif: WriteTif) -> None:
    example = read(write_tif("chip.tif", IMAGE), write_tif("mask.tif", MASK), values=(1, -1))
    assert (example.label == 1).sum() == 7


def test_invalid_pixels_are_unknown(write_tif: WriteTif) -> None:
    image = IMAGE.copy()
    image[1, 0, 0] = np.nan
    example = read(write_tif("chip.tif", image), write_tif("mask.tif", MASK))
    assert not example.valid[0, 0]
    assert example.label[0, 0] == 255
    assert example.label[0, 1] == 1


@pytest.mark.parametrize(("nodata", "expected"), [(0, 0), (7, 255)])
def test_nodata_of_the_mask(write_tif: WriteTif, nodata: int, expected: int) -> None:
    """A nodata value of 0 is how many tools mark the background of a mask; any other means unlabelled."""
    mask = np.full((4, 5), nodata, dtype=np.uint8)
    mask[0] = 1
    example = read(write_tif("chip.tif", IMAGE), write_tif("mask.tif", mask, nodata=nodata))
    assert (example.label[0] == 1).all()
    assert (example.label[1:] == expected).all()


def test_the_class_may_be_the_nodata_value_of_the_mask(write_tif: WriteTif) -> None:
    mask = np.where(MASK == 1, 255, 0).astype(np.uint8)
    example = read(write_tif("chip.tif", IMAGE), write_tif("mask.tif", mask, nodata=255), values=(255,))
    assert (example.label == 1).sum() == 5


def refused(image: Path, mask: Path, match: str, **request: Any) -> SupportError:
    with pytest.raises(SupportError, match=match) as caught:
        read(image, mask, **request)
    assert caught.value.remedy
    assert str(mask) in caught.value.where or str(image) in caught.value.where
    return caught.value


def test_sizes_must_agree_where_the_mask_has_no_coordinates(write_tif: WriteTif) -> None:
    small = write_tif("mask.tif", MASK[:3], crs=None, transform=None)
    error = refused(write_tif("chip.tif", IMAGE), small, "differ in size: 4 x 5 and 3 x 5")
    assert "chip.tif" in error.where
    assert "mask.tif" in error.where


def test_places_must_agree(write_tif: WriteTif) -> None:
    moved = write_tif("mask.tif", MASK, transform=Affine(10, 0, 500_060, 0, -10, 5_800_000))
    refused(write_tif("chip.tif", IMAGE), moved, "6.0 pixels apart")
    half = write_tif("half.tif", MASK, transform=Affine(10, 0, 500_005, 0, -10, 5_800_000))
    assert read(write_tif("chip.tif", IMAGE), half).valid.all()


def in_utm34(mask: np.ndarray, image: Path) -> tuple[np.ndarray, Affine]:
    """A mask of the next zone, on a grid of its own: 2 m pixels, each labelled as the image's pixel around it."""
    corners = transform(
        UTM["crs"], "EPSG:32634", [500_000, 500_050, 500_000, 500_050], [5_800_000] * 2 + [5_799_960] * 2
    )
    left, top = min(corners[0]) - 20, max(corners[1]) + 20
    grid = Affine(2, 0, left, 0, -2, top)
    rows, columns = np.mgrid[0:60, 0:70]
    x, y = grid * (columns.ravel() + 0.5, rows.ravel() + 0.5)
    x, y = (np.asarray(side) for side in transform("EPSG:32634", UTM["crs"], x, y))
    column, row = np.floor((x - 500_000) / 10).astype(int), np.floor((5_800_000 - y) / 10).astype(int)
    inside = (column >= 0) & (column < mask.shape[1]) & (row >= 0) & (row < mask.shape[0])
    values = np.full(column.shape, -7, mask.dtype)
    values[inside] = mask[row[inside], column[inside]]
    return values.reshape(60, 70), grid


def test_a_mask_in_another_crs_is_warped(write_tif: WriteTif) -> None:
    image = write_tif("chip.tif", IMAGE)
    values, grid = in_utm34(MASK, image)
    example = read(image, write_tif("mask.tif", values, crs="EPSG:32634", transform=grid), ignore=(-1,))
    expected = read(image, write_tif("same.tif", MASK), ignore=(-1,))
    assert np.array_equal(example.label, expected.label)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float32"])
def test_a_mask_of_another_resolution_is_warped(write_tif: WriteTif, dtype: str) -> None:
    image = write_tif("chip.tif", IMAGE)
    fine = np.repeat(np.repeat(np.abs(MASK), 2, 0), 2, 1).astype(dtype)
    label = read(image, write_tif("fine.tif", fine, transform=Affine(5, 0, 500_000, 0, -5, 5_800_000))).label
    assert np.array_equal(label, np.abs(MASK))
    larger = np.full((8, 9), 5, dtype)
    larger[2:6, 1:6] = np.abs(MASK)
    grid = Affine(10, 0, 499_990, 0, -10, 5_800_020)
    assert np.array_equal(read(image, write_tif("larger.tif", larger, transform=grid)).label, np.abs(MASK))


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_a_warped_mask_of_64_bits_keeps_its_last_digit(write_tif: WriteTif, dtype: str) -> None:
    image = write_tif("chip.tif", IMAGE)
    fine = np.repeat(np.repeat(np.where(MASK == 1, 2**53, 2**53 + 1), 2, 0), 2, 1).astype(dtype)
    mask = write_tif("fine.tif", fine, transform=Affine(5, 0, 500_000, 0, -5, 5_800_000))
    assert np.array_equal(read(image, mask, values=(2**53,)).label, MASK == 1)


def test_a_mask_of_a_part_of_the_image_is_refused(write_tif: WriteTif) -> None:
    """A mask at half the resolution with the coordinates of the whole would put labels at the wrong places."""
    refused(write_tif("chip.tif", IMAGE), write_tif("half.tif", MASK[::2, ::2]), r"covers 30% .*4 x 5 and 2 x 3")


def test_the_rim_of_a_warped_mask_is_unknown(write_tif: WriteTif) -> None:
    image = write_tif("chip.tif", np.ones((30, 30), np.uint8))
    label = read(image, write_tif("mask.tif", np.ones((30, 29), np.uint8))).label
    assert (label[:, :29] == 1).all()
    assert (label[:, 29] == 255).all()


@pytest.mark.parametrize(("nodata", "expected"), [(0, 0), (7, 255)])
def test_nodata_of_a_warped_mask(write_tif: WriteTif, nodata: int, expected: int) -> None:
    mask = np.full((8, 10), nodata, dtype=np.uint8)
    mask[:2] = 1
    grid = Affine(5, 0, 500_000, 0, -5, 5_800_000)
    example = read(write_tif("chip.tif", IMAGE), write_tif("mask.tif", mask, nodata=nodata, transform=grid))
    assert (example.label[0] == 1).all()
    assert (example.label[1:] == expected).all()


def test_a_mask_of_another_place_is_refused(write_tif: WriteTif) -> None:
    image = write_tif("chip.tif", IMAGE)
    refused(image, write_tif("a.tif", MASK, crs="EPSG:32634"), "lies elsewhere")
    far = Affine(5, 0, 900_000, 0, -5, 5_800_000)
    refused(image, write_tif("b.tif", MASK, transform=far), "lies elsewhere")


def test_a_mask_without_the_class(write_tif: WriteTif) -> None:
    refused(write_tif("chip.tif", IMAGE), write_tif("mask.tif", MASK), "it holds -1, 0, 1", values=(3,))


def test_a_mask_that_is_all_unknown(write_tif: WriteTif) -> None:
    mask = write_tif("mask.tif", np.full((4, 5), -1, dtype=np.int16))
    refused(write_tif("chip.tif", IMAGE), mask, "every pixel", ignore=(-1,))


def test_a_class_where_the_image_holds_nothing(write_tif: WriteTif) -> None:
    image = IMAGE.copy()
    image[:, 0] = np.nan
    refused(write_tif("chip.tif", image), write_tif("mask.tif", MASK), "holds no data")


def test_colored_masks_are_refused(write_tif: WriteTif) -> None:
    refused(write_tif("chip.tif", IMAGE), write_tif("mask.tif", np.stack([MASK] * 3)), "3 bands")


def test_unreadable_files(write_tif: WriteTif, tmp_path: Path) -> None:
    image, mask = write_tif("chip.tif", IMAGE), write_tif("mask.tif", MASK)
    broken = tmp_path / "broken.tif"
    broken.write_bytes(image.read_bytes()[:150])
    refused(broken, mask, "cannot")
    refused(image, tmp_path / "gone.tif", "No such file")
    refused(image, write_tif("c.tif", np.ones((4, 5), dtype=np.complex64)), "complex")


def test_a_scene_is_no_chip(write_tif: WriteTif, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(support, "MAX_PIXELS", 19)
    refused(write_tif("chip.tif", IMAGE), write_tif("mask.tif", MASK), "too large")


POINTS = np.full((4, 5), 255, dtype=np.uint8)
POINTS[0, 0], POINTS[3, 4], POINTS[2, 2] = 1, 0, 3


@pytest.mark.parametrize(
    ("request_of", "background", "unknown"),
    [
        ({}, [(2, 2), (3, 4)], 17),  # 255 of eight bits says nothing
        ({"values": (1, 255)}, [(2, 2), (3, 4)], 0),  # unless it is the class
        ({"background": (3,)}, [(2, 2)], 18),  # only what is named is background
        ({"background": (0, 3), "ignore": (3,)}, [(3, 4)], 18),
    ],
)
def test_a_few_labelled_pixels(
    write_tif: WriteTif, request_of: dict[str, Any], background: list[tuple[int, int]], unknown: int
) -> None:
    label = read(write_tif("chip.tif", IMAGE), write_tif("mask.tif", POINTS), **request_of).label
    assert label[0, 0] == 1
    assert [tuple(place) for place in np.argwhere(label == 0).tolist()] == background
    assert (label == 255).sum() == unknown


def test_255_of_sixteen_bits_is_a_value_like_any_other(write_tif: WriteTif) -> None:
    example = read(write_tif("chip.tif", IMAGE), write_tif("mask.tif", POINTS.astype(np.uint16)))
    assert (example.label == 0).sum() == 19


def test_named_background_may_be_the_nodata_value_of_the_mask(write_tif: WriteTif) -> None:
    mask = write_tif("mask.tif", np.where(POINTS == 255, 7, POINTS), nodata=0)
    assert (read(write_tif("chip.tif", IMAGE), mask, background=(0,)).label == 0).sum() == 1
