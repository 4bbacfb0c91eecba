"""Areas with intervals of a product."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hdm_pipeline.contracts import VolumeGeometry
from hdm_pipeline.execution.measures import measure
from hdm_pipeline.stitch import labels
from tests.raster_product import ArraySource, product, scene


def test_an_interval_holds_the_areas_at_both_scores_and_the_mask_is_inside() -> None:
    height, width = 64, 200
    header = scene(height, width)
    y, x = np.ogrid[:height, :width]
    scores = np.stack([(y + x) % 200, (3 * y + x) % 240]).astype(np.uint8)
    valid = np.ones((height, width), bool)
    valid[:10] = False
    made = dataclasses.replace(product(header, labels(scores, valid, 0.5)[None]), score=ArraySource(scores))
    found = measure(made, np.full(height, 100.0), [(0.3, 0.7), (0.1, 0.9)])
    for number, (name, ends) in enumerate(zip(("flood", "crue é <&>"), ((0.3, 0.7), (0.1, 0.9)), strict=True), 1):
        large, small = (int((labels(scores, valid, end) == number).sum()) for end in ends)
        assert found["pixels_interval"][name] == [small, large]
        assert small < found["pixels"][name] < large
        assert found["area_m2_interval"][name] == [100.0 * small, 100.0 * large]
    assert "pixels_interval" not in measure(made, None)
    assert measure(made, None, [(0.3, 0.7)] * 2)["area_m2_interval"] is None


def test_small_amounts_keep_their_digits() -> None:
    """Pixels of 9 micrometres: with a fixed number of decimals their areas and volumes were all 0."""
    header = scene(64, 200)
    affine = (0.009, 0.0, 0.0, 0.0, 0.0, 0.009, 0.0, 0.0, 0.0, 0.0, 0.009, 0.0, 0.0, 0.0, 0.0, 1.0)
    made = dataclasses.replace(product(header), scene=dataclasses.replace(header, geometry=VolumeGeometry(affine)))
    found = measure(made, np.full(64, 8.1e-11))
    count = found["pixels"]["flood"]
    assert count > 0
    assert found["area_m2"]["flood"] == pytest.approx(count * 8.1e-11, rel=1e-5)
    assert found["volume_ml"]["flood"] == pytest.approx(count * 7.29e-10, rel=1e-5)
    assert found["slice_area_mm2"]["flood"] == [pytest.approx(count * 8.1e-5, rel=1e-5)]


def test_no_volume_where_the_extent_of_a_voxel_is_unknown() -> None:
    header = scene(64, 200)
    geometry = VolumeGeometry(tuple(np.eye(4).ravel().tolist()), located=False, measured=False)
    made = dataclasses.replace(product(header), scene=dataclasses.replace(header, geometry=geometry))
    found = measure(made, np.full(64, 1e-6), [(0.3, 0.7)] * 2)
    assert found["area_m2"]["flood"] > 0
    assert not [name for name in found if name.startswith("volume")]


def test_a_threshold_outside_widens_the_interval() -> None:
    header = scene(64, 200)
    made = product(header)
    strict = dataclasses.replace(made, provenance=dataclasses.replace(made.provenance, threshold=0.9))
    narrow, wide = (measure(one, None, [(0.3, 0.7)] * 2)["pixels_interval"]["flood"] for one in (made, strict))
    assert wide[0] < narrow[0]
    assert wide[1] == pytest.approx(narrow[1])


def test_the_uncertainty_of_a_class_is_the_mean_over_its_pixels() -> None:
    header = scene(64, 200)
    mask = np.zeros((1, 64, 200), np.uint8)
    mask[0, :10], mask[0, 20:] = 1, 255
    scores = np.zeros((2, 64, 200), np.uint8)
    scores[0, :5], scores[0, 5:10] = 255, 204
    made = dataclasses.replace(product(header, mask), score=ArraySource(scores))
    assert measure(made, None)["uncertainty"] == {"flood": 0.2, "crue é <&>": None}, "1 - |2 * 0.8 - 1| in one half"
    known = dataclasses.replace(made, uncertainty=ArraySource(np.full((2, 64, 200), 51, np.uint8)))
    assert measure(known, None, [(0.3, 0.7)] * 2)["uncertainty"]["flood"] == 0.2
