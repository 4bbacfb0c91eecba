"""Bands and scale are chosen by what the bands are."""

from __future__ import annotations

from typing import Any, cast

import pytest

from hdm_pipeline.contracts import Band, RasterGeometry, Reader, SceneHeader, SceneRef, VolumeGeometry
from hdm_pipeline.drafting.look import Look
from hdm_pipeline.drafting.scaling import choose

UTM = RasterGeometry((10.0, 0, 0, 0, -10.0, 0), "some WKT")
VOXELS = VolumeGeometry((1.0, 0, 0, 0, 0, 1.0, 0, 0, 0, 0, 2.0, 0, 0, 0, 0, 1.0))


def seen(
    *bands: Band,
    usual: tuple[float, float] = (3.0, 200.0),
    extremes: tuple[float, float] = (0.0, 255.0),
    dtype: str = "uint8",
    geometry: RasterGeometry | VolumeGeometry = UTM,
    side: int = 600,
    **more: Any,
) -> Look:
    """A look at an archive of one scene with such bands."""
    ref = SceneRef("a", "scenes/a.tif", "geotiff", "1")
    header = SceneHeader(ref, (len(bands), 1, side, side), dtype, bands, geometry)
    values = {"usual": (usual,) * len(bands), "extremes": (extremes,) * len(bands)}
    return Look("scenes", "geotiff", {}, cast(Reader, None), (ref,), (header,), **values | more)


RGB = (Band("red"), Band("green"), Band("blue"))


def test_eight_bits_keep_their_range_unless_they_hardly_use_it() -> None:
    assert choose(seen(*RGB), "field").scale == {"fixed": [0.0, 255.0]}
    assert choose(seen(*RGB, extremes=(0.0, 12.0)), "field").scale == {"percentiles": [2, 98]}


def test_what_is_no_measurement_is_left_out_and_many_bands_are_bounded() -> None:
    assert choose(seen(*RGB, Band("", role="alpha")), "field").bands == [1, 2, 3]
    assert choose(seen(*[Band()] * 40), "field").bands == list(range(1, 13))


@pytest.mark.parametrize(
    "bands", [(Band("", "dB"), Band("", "dB")), (Band("Gamma0_VV"), Band("Gamma0_VH"))], ids=["unit", "names"]
)
def test_radar_has_fixed_ranges_in_whole_decibels_and_a_ratio(bands: tuple[Band, ...]) -> None:
    found = choose(seen(*bands, usual=(-24.3, -2.7), dtype="float32"), "flood")
    assert found.radar
    assert found.bands == [1, 2, "b1 - b2"]
    assert found.scale == {"fixed": [[-25.0, -2.0], [-25.0, -2.0], [-2.0, 16.0]]}


def test_linear_radar_is_not_taken_for_decibels() -> None:
    found = choose(seen(Band("VV"), Band("VH"), usual=(0.001, 0.4), dtype="float32"), "flood")
    assert (found.radar, found.scale) == (False, {"percentiles": [2, 98]})


@pytest.mark.parametrize(
    ("unit", "name", "scale"),
    [
        ("HU", "liver", {"fixed": "abdomen"}),
        ("HU", "left lung", {"fixed": "lung"}),
        ("SUVbw", "lesion", {"fixed": [0.0, 10.0]}),
        ("", "prostate", {"percentiles": [1, 99]}),
    ],
)
def test_volumes_are_scaled_by_their_unit(unit: str, name: str, scale: dict[str, Any]) -> None:
    assert choose(seen(Band("CT", unit), dtype="int16", geometry=VOXELS), name).scale == scale
