"""What makes a scene suspect: values against the scale, bands and resolution against the examples, strange results."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hdm_pipeline.config.schema import Scale
from hdm_pipeline.contracts import Band, RasterGeometry, SceneHeader, SceneRef, SceneWarning
from hdm_pipeline.errors import BandError
from hdm_pipeline.pixels.bands import resolve
from hdm_pipeline.pixels.sanity import (
    Look,
    look_at,
    noted,
    pixel_size,
    result_warnings,
    scale_warnings,
    unlike_warnings,
)

DN = Scale(fixed=(0, 4000))
RNG = np.random.default_rng(1)
LAND = RNG.normal(1800, 500, (1, 5000)).clip(1, 4000).astype(np.float32)
"""A scene in digital numbers, as [0, 4000] expects it."""


def look(pixels: Any = LAND, *, bands: tuple[Band, ...] = (Band(),), size: float | None = 10.0) -> Look:
    pixels = np.broadcast_to(np.asarray(pixels, np.float32), (len(bands), np.shape(pixels)[-1]))
    plan = resolve(list(range(1, len(bands) + 1)), bands)
    return look_at("x", plan, bands, pixels, [(0.0, 4000.0)] * len(bands), size)


def kinds(warnings: list[SceneWarning]) -> list[str]:
    return [warning.kind for warning in warnings]


@pytest.mark.parametrize(
    ("pixels", "kind"),
    [
        (LAND, None),
        (LAND / 1e4, "scale_low"),  # reflectance
        (LAND / 16, "scale_narrow"),  # 8 bits
        (LAND * 16, "scale_high"),
        (LAND - 1e5, "scale_low"),
        (LAND * 0 + 7, "constant"),
        (np.where(np.arange(5000) % 5 == 0, 0, LAND), "scale_low"),  # a black collar
        (LAND[:, :0], "no_data"),
    ],
)
def test_values_far_from_the_scale(pixels: Any, kind: str | None) -> None:
    assert kinds(scale_warnings(look(pixels), DN, [look()])) == ([kind] if kind else [])


def test_a_band_that_is_used_and_marked_as_alpha_is_told() -> None:
    """Programs mark the fourth band of four as alpha, also near infrared: where it is 0, nothing is valid."""
    bands = (Band(), Band(role="alpha"))
    (told,) = scale_warnings(look(bands=bands), DN)
    assert (told.kind, told.suspect) == ("alpha", True)
    assert "band 2 is marked as alpha" in told.what
    assert "colorinterp" in told.remedy
    assert kinds(scale_warnings(look(LAND[:, :0], bands=bands), DN)) == ["alpha", "no_data"]
    plan = resolve([1], bands)
    assert scale_warnings(look_at("x", plan, bands, LAND, [(0.0, 4000.0)], 10.0), DN) == []


def test_an_example_is_looked_at_without_another_one() -> None:
    assert kinds(scale_warnings(look(), DN)) == []
    assert kinds(scale_warnings(look(LAND / 1e4), DN)) == ["scale_low"]
    assert kinds(scale_warnings(look(LAND / 16), DN)) == ["scale_narrow"]


def test_what_the_examples_have_too_is_not_told_of_each_scene() -> None:
    windowed = LAND - 2500  # as in CT: most of a slice lies below the window
    assert kinds(scale_warnings(look(windowed), DN, [look(windowed + 100)])) == []
    assert kinds(scale_warnings(look(LAND / 16), DN, [look(LAND / 15)])) == []


def test_percentiles_fit_any_values() -> None:
    assert scale_warnings(look(LAND / 1e4), Scale(percentiles=(2, 98)), [look()]) == []
    assert kinds(scale_warnings(look(LAND * 0), Scale(percentiles=(2, 98)), [look()])) == ["constant"]


def test_the_message_tells_values_and_unit() -> None:
    (warning,) = scale_warnings(look(LAND / 1e4), DN, [look()])
    assert "100.0% of the pixels of band 1" in warning.what
    assert "[0, 4000]" in warning.what
    assert "reflectance" in warning.remedy


def test_bands_called_otherwise_are_told_and_another_order_is_refused() -> None:
    rgb, bgr = (tuple(Band(name) for name in order) for order in (("B04", "B03", "B02"), ("B02", "B03", "B04")))
    assert unlike_warnings(look(bands=rgb), [look(bands=rgb), look(bands=(Band(), Band(), Band()))]) == []
    assert kinds(unlike_warnings(look(bands=(Band("red"),)), [look(bands=(Band("nir"),))])) == ["bands"]
    with pytest.raises(BandError, match="another order") as caught:
        unlike_warnings(look(bands=bgr), [look(bands=rgb)])
    assert "B04" in caught.value.remedy


def test_what_many_examples_say_alike_is_told_once_of_the_first() -> None:
    def example(name: str, band: Band) -> Look:
        return replace(look(bands=(band,)), name=name)

    many = [example(str(n), Band("nir", "dB")) for n in range(40)] + [example("last", Band("swir", "dB"))]
    found = unlike_warnings(look(bands=(Band("red", "DN"),)), many)
    assert sorted(warning.what for warning in found) == [
        "band 1 is called 'red' here and 'nir' in example 0",
        "band 1 is called 'red' here and 'swir' in example last",
        "band 1 is in 'DN' here and in 'dB' in example 0",
    ]


def test_bands_named_by_description_may_stand_anywhere() -> None:
    one, other = (Band("B04"), Band("B02")), (Band("B02"), Band("B04"))
    pixels = np.broadcast_to(LAND, (2, 5000))
    scene, example = (
        look_at("x", resolve(["B04", "B02"], bands), bands, pixels, [(0.0, 4000.0)] * 2, None) for bands in (one, other)
    )
    assert unlike_warnings(scene, [example]) == []


def test_units_and_resolution() -> None:
    (unit,) = unlike_warnings(look(bands=(Band(unit="dB"),)), [look(bands=(Band(unit="linear"),))])
    assert unit.kind == "units"
    assert "'dB'" in unit.what
    assert unlike_warnings(look(size=10), [look(size=12), look(size=None)]) == []
    assert unlike_warnings(look(size=10), [look(size=30), look(size=11)]) == []  # like one of them
    (coarse,) = unlike_warnings(look(size=20), [look(size=10)])
    assert coarse.kind == "resolution"
    assert "20 m" in coarse.what
    (fine,) = unlike_warnings(look(size=0.0005), [look(size=0.001)])
    assert "0.5 mm" in fine.what


def test_pixel_size_is_the_root_of_the_area() -> None:
    assert pixel_size(np.array([100.0, 100.0])) == 10.0
    assert pixel_size(None) is None
    assert pixel_size(np.zeros(3)) is None


@pytest.mark.parametrize(
    ("valid", "water", "kind", "suspect"),
    [(1.0, 40, None, False), (1.0, 0, "empty", False), (0.5, 50, "one_class", True), (0.0, 0, "no_data", True)],
)
def test_results(valid: float, water: int, kind: str | None, suspect: bool) -> None:
    header = SceneHeader(SceneRef("a", "a.tif", "x", "1"), (3, 1, 10, 10), "uint8", (), RasterGeometry((1,) * 6))
    found = result_warnings(header, {"valid": valid, "pixels": {"water": water, "ice": 0}})
    assert [one.kind for one in found] == ([kind] if kind else [])
    assert [one.suspect for one in found] == ([suspect] if kind else [])


def test_a_text_of_a_reader_is_a_note() -> None:
    (note,) = noted(["odd"])
    assert (note.kind, note.what, note.suspect) == ("note", "odd", False)
