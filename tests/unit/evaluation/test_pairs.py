"""Image and mask of an episode: those of one place are paired as a run pairs them, and odd masks are told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import Affine
from rasterio.warp import transform

from hdm_pipeline.errors import TrainingError
from hdm_pipeline.evaluation.episode_list import ListedEpisode, ListedExample, load_query, load_support
from hdm_pipeline.evaluation.pairs import read_pair

SIDE = 40
UTM, NEXT_ZONE = 32633, 32634
PLACE = Affine(10, 0, 500_000, 0, -10, 4_000_000)


def save(path: Path, values: np.ndarray, place: Affine | None = PLACE, crs: int | None = UTM) -> Path:
    where = {} if place is None else {"transform": place, "crs": f"EPSG:{crs}"}
    profile = {"driver": "GTiff", "count": 1, "height": values.shape[0], "width": values.shape[1]}
    with rasterio.open(path, "w", dtype=values.dtype, **profile, **where) as file:
        file.write(values, 1)
    return path


def block(value: int = 1) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[10:20, 5:30] = value
    return mask


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return save(tmp_path / "image.tif", np.random.default_rng(0).uniform(0, 200, (SIDE, SIDE)).astype(np.float32))


def of(image: Path, *masks: Path) -> ListedEpisode:
    examples = [ListedExample(image, mask) for mask in masks]
    return ListedEpisode("t", tuple(examples), examples[0], scale=((0.0, 200.0),))


@pytest.mark.parametrize(
    ("place", "crs", "message"),
    [
        (PLACE @ Affine.translation(7, 0), UTM, "lie 7.0 pixels apart"),
        (PLACE @ Affine.translation(4000, 0), UTM, "pixels apart"),
        (PLACE, NEXT_ZONE, "the mask lies elsewhere than the image"),
    ],
)
def test_a_mask_of_the_same_size_but_of_another_place_is_refused(
    tmp_path: Path, image: Path, place: Affine, crs: int, message: str
) -> None:
    good, other = save(tmp_path / "good.tif", block()), save(tmp_path / "other.tif", block(), place, crs)
    with pytest.raises(TrainingError, match=message) as caught:
        load_support(of(image, other))
    assert "other.tif" in caught.value.where
    assert caught.value.remedy
    with pytest.raises(TrainingError, match=message):
        load_query(ListedExample(image, other), load_support(of(image, good)))


def test_a_mask_in_another_crs_is_warped_onto_its_image(tmp_path: Path, image: Path) -> None:
    columns, rows = np.meshgrid(np.arange(3 * SIDE), np.arange(3 * SIDE))
    # A grid of the next zone that covers the image with a rim; its labels are those of the image's pixels.
    (east,), (north,) = transform(f"EPSG:{UTM}", f"EPSG:{NEXT_ZONE}", [500_200.0], [3_999_800.0])
    place = Affine(10, 0, east - 600, 0, -10, north + 600)
    x, y = place * (columns.ravel() + 0.5, rows.ravel() + 0.5)
    x, y = transform(f"EPSG:{NEXT_ZONE}", f"EPSG:{UTM}", x, y)
    across, down = ~PLACE * (np.asarray(x), np.asarray(y))
    inside = (across >= 5) & (across < 30) & (down >= 10) & (down < 20)
    mask = save(tmp_path / "m.tif", inside.reshape(columns.shape).astype(np.uint8), place, NEXT_ZONE)
    _, labels = read_pair(image, mask, None, tell=print)
    assert labels.shape == (SIDE, SIDE)
    assert np.count_nonzero(labels != block()) < 0.1 * np.count_nonzero(block())


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_a_mask_without_a_place_lies_on_its_image(tmp_path: Path, image: Path, suffix: str) -> None:
    path = tmp_path / f"mask.{suffix}"
    if suffix == "png":
        Image.fromarray(block()).save(path)
    else:
        save(path, block(), None)
    np.testing.assert_array_equal(read_pair(image, path, None, tell=print)[1], block())


def test_a_mask_of_0_and_255_is_told_for_examples_and_queries(tmp_path: Path, image: Path) -> None:
    good, bytes_ = save(tmp_path / "good.tif", block()), save(tmp_path / "bytes.tif", block(255))
    told: list[str] = []
    support = load_support(of(image, good, bytes_), tell=told.append)
    (line,) = told
    assert "bytes.tif: the mask has no pixel of the class (value 1); it holds 0, 255" in line
    assert "write it as 1" in line
    load_query(ListedExample(image, bytes_), support, tell=told.append)
    load_query(ListedExample(image, good), support, tell=told.append)
    assert told == [line, line]


def test_an_odd_mask_is_told_of_examples_that_cannot_be_used_for_it(tmp_path: Path, image: Path) -> None:
    told: list[str] = []
    with pytest.raises(TrainingError, match="holds foreground"):
        load_support(of(image, save(tmp_path / "bytes.tif", block(255))), tell=told.append)
    assert len(told) == 1
    assert "write it as 1" in told[0]


def test_a_mask_that_declares_255_as_nodata_means_it(tmp_path: Path, image: Path) -> None:
    path = save(tmp_path / "declared.tif", block(255))
    with rasterio.open(path, "r+") as file:
        file.nodata = 255
    told: list[str] = []
    labels = read_pair(image, path, None, tell=told.append)[1]
    assert told == []
    assert (labels[10:20, 5:30] == 255).all()


@pytest.mark.parametrize("shifted", [0, SIDE], ids=["on its image", "warped onto its image"])
def test_pixels_without_data_and_values_to_ignore_count_nowhere(tmp_path: Path, image: Path, shifted: int) -> None:
    with rasterio.open(image, "r+") as file:
        pixels = file.read(1)
        pixels[:3] = np.nan
        file.write(pixels, 1)
    values = np.zeros((SIDE + shifted, SIDE + shifted), np.int16)
    values[shifted:, shifted:][:5, 5:30], values[shifted:, shifted:][20:, :] = 1, -1
    mask = save(tmp_path / "mask.tif", values, PLACE @ Affine.translation(-shifted, -shifted))
    _, labels = read_pair(image, mask, None, (-1,), tell=print)
    assert (labels[:3] == 255).all()
    assert (labels[3:5, 5:30] == 1).all()
    assert (labels[20:] == 255).all()
    assert np.count_nonzero(labels == 0) == 17 * SIDE - 2 * 25
