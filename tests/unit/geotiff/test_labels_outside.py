"""Labels that lie outside of the image are told, where the image is the only one that they could be of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.warp import transform_bounds
from shapely.geometry import Polygon, box

from hdm_geotiff.examples import outside, vector_file
from hdm_geotiff.reader import GeoTiffReader
from hdm_pipeline.config.schema import ClassConfig
from hdm_pipeline.contracts import LabeledImage, SupportRequest, VectorLabels
from hdm_pipeline.support.examples import requests
from tests.unit.geotiff.conftest import UTM, WriteTif
from tests.vector_files import write_vector

SIZE = 40


def at(left: float, top: float) -> Polygon:
    """A box of 10 x 10 pixels in the coordinates of the image."""
    return box(*(UTM["transform"] * (left, top + 10)), *(UTM["transform"] * (left + 10, top)))


@pytest.fixture
def chip(write_tif: WriteTif) -> Path:
    return write_tif("chip.tif", np.arange(SIZE * SIZE, dtype=np.float32).reshape(1, SIZE, SIZE))


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """One feature within, one across the edge, and three beside the image."""
    places = [(5, 5), (35, 5), (400, 5), (5, 400), (-400, 5)]
    return write_vector(tmp_path / "drawn.gpkg", [(at(*place), "flood") for place in places], crs="EPSG:4326")


def read(image: Path, labels: Path, shared: bool = False, **vector: Any) -> list[LabeledImage]:
    request = SupportRequest(str(image), str(labels), vector=VectorLabels(**vector), shared=shared)
    return GeoTiffReader().read_support(request)


def test_features_outside_of_the_image_are_counted(chip: Path, drawn: Path) -> None:
    (example,) = read(chip, drawn)
    (warning,) = example.warnings
    assert warning.kind == "labels_outside"
    assert not warning.suspect
    assert warning.what.startswith("3 of 5 features of the class lie outside of the image")
    assert warning.remedy


def test_one_file_of_labels_for_many_images_says_nothing(chip: Path, drawn: Path) -> None:
    for told in ("optional", "shared"):
        (example,) = read(chip, drawn, **{told: True})
        assert example.warnings == ()


def test_a_file_too_large_to_be_read_for_that_says_nothing(
    chip: Path, drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_file, "_MOST_KEPT", 2)
    (example,) = read(chip, drawn)
    assert example.warnings == ()


def masked(image: Path, mask: Path, shared: bool = False) -> LabeledImage:
    (example,) = GeoTiffReader().read_support(SupportRequest(str(image), str(mask), shared=shared))
    return example


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:32634"])
def test_pixels_of_a_larger_mask_outside_of_the_image_are_counted(chip: Path, write_tif: WriteTif, crs: str) -> None:
    with rasterio.open(chip) as image:
        bounds = transform_bounds(image.crs, crs, *image.bounds)
    left, top = bounds[0] - 200, bounds[3] + 200
    mask = np.zeros((100, 130), np.uint8)
    mask[30:34, 35:40] = 1  # in the image
    mask[80:90, 100:] = 1
    example = masked(chip, write_tif("mask.tif", mask, crs=crs, transform=Affine(10, 0, left, 0, -10, top)))
    (warning,) = example.warnings
    assert (warning.kind, warning.suspect) == ("labels_outside", False)
    assert warning.what.startswith("300 of 320 pixels of the class lie outside of the image")
    assert 15 <= np.count_nonzero(example.label == 1) <= 25
    assert (example.label != 255).mean() > 0.95


def test_the_rim_of_a_coarser_mask_is_no_loss(chip: Path, write_tif: WriteTif) -> None:
    place = UTM["transform"] @ Affine.translation(-8, -8) @ Affine.scale(9)  # its outer pixels lie half in the image
    assert masked(chip, write_tif("mask.tif", np.ones((6, 6), np.uint8), transform=place)).warnings == ()


def test_a_mask_of_several_images_or_too_large_to_be_read_for_that_says_nothing(
    chip: Path, write_tif: WriteTif, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = write_tif("mask.tif", np.ones((SIZE, 3 * SIZE), np.uint8))
    # Two columns beside the image are its rim.
    assert "3120 of 4800 pixels" in str(masked(chip, mask).warnings)
    assert masked(chip, mask, shared=True).warnings == ()
    monkeypatch.setattr(outside, "_MOST_READ", 100)
    assert masked(chip, mask).warnings == ()


def test_examples_that_share_a_file_of_labels_say_nothing_of_each_others_features(chip: Path, drawn: Path) -> None:
    other = chip.with_name("other.tif")
    other.write_bytes(chip.read_bytes())

    def warnings(*images: Path) -> list[str]:
        examples = [{"image": str(image), "labels": str(drawn), "complete": True} for image in images]
        asked = requests(ClassConfig.model_validate({"name": "flood", "examples": examples}))
        return [
            one.kind for request in asked for found in GeoTiffReader().read_support(request) for one in found.warnings
        ]

    assert warnings(chip) == ["labels_outside"]
    assert warnings(chip, other) == []
