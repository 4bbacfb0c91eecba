"""`segment`: what cannot be used is named, masked arrays are honoured, unscaled numbers are warned of."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hdm_pipeline import segment
from hdm_pipeline.errors import ConfigError, HdmError, ModelInputError, SupportError
from hdm_pipeline.model.segmenter import FewShotSegmenter
from hdm_pipeline.notebook import UnscaledWarning
from tests.products import write_safe

RNG = np.random.default_rng(0)
MASK = np.zeros((64, 64), np.uint8)
MASK[20:44, 20:44] = 1
IMAGE = np.where(MASK, 0.1, 0.8)[None].repeat(3, 0).astype(np.float32) + RNG.normal(0, 0.03, (3, 64, 64)).astype(
    np.float32
)
IMAGE = IMAGE.clip(0, 1)


@pytest.fixture(scope="module")
def segmenter() -> FewShotSegmenter:
    return FewShotSegmenter.load("builtin:pyramid-small")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"array": IMAGE[0]}, ModelInputError),
        ({"array": IMAGE.tolist()}, ModelInputError),
        ({"array": IMAGE.astype(complex)}, ModelInputError),
        ({"array": IMAGE.astype(object)}, ModelInputError),
        ({"array": IMAGE > 0.5}, ModelInputError),
        ({"array": IMAGE[:, :0]}, ModelInputError),
        ({"array": IMAGE[:2]}, SupportError),
        ({"threshold": 5}, ModelInputError),
        ({"threshold": 0}, ModelInputError),
        ({"threshold": float("nan")}, ModelInputError),
        ({"threshold": "high"}, ModelInputError),
        ({"tile": 0}, ModelInputError),
        ({"overlap": 400}, ModelInputError),
        ({"overlap": -1}, ModelInputError),
        ({"tile": "512"}, ModelInputError),
        ({"tile": 64.0, "overlap": 8}, ModelInputError),
        ({"overlap": "8"}, ModelInputError),
        ({"segmenter": "builtin:pyramid"}, ModelInputError),
        ({"scale": [(0, 1), (0, 1)]}, ConfigError),
        ({"valid": MASK}, ModelInputError),
        ({"valid": MASK[1:] > 0}, ModelInputError),
        ({"support": []}, SupportError),
        ({"support": [IMAGE]}, SupportError),
        ({"support": [(IMAGE, MASK[1:])]}, SupportError),
        ({"support": [(IMAGE, MASK[None])]}, SupportError),
        ({"support": [(IMAGE, MASK.astype(float))]}, SupportError),
        ({"support": [(IMAGE, MASK * 7)]}, SupportError),
        ({"support": [(IMAGE, MASK * 0)]}, SupportError),
        ({"support": [(IMAGE[0], MASK)]}, SupportError),
        ({"support": [(None, MASK)]}, SupportError),
    ],
)
def test_what_cannot_be_used_is_named(
    segmenter: FewShotSegmenter, change: dict[str, Any], error: type[HdmError]
) -> None:
    given = {"array": IMAGE, "support": [(IMAGE, MASK)], "segmenter": segmenter, **change}
    with pytest.raises(error) as caught:
        segment(**given)
    assert caught.value.where
    assert caught.value.remedy


def test_masked_pixels_are_invalid(segmenter: FewShotSegmenter) -> None:
    hidden = np.zeros(IMAGE.shape, bool)
    hidden[1, :10] = True
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = segment(np.ma.MaskedArray(IMAGE, hidden), [(IMAGE, MASK)], segmenter=segmenter)
        plain = segment(np.where(hidden, np.nan, IMAGE), [(IMAGE, MASK)], segmenter=segmenter)
    assert (found[:10] == 255).all()
    assert (found[10:] != 255).all()
    assert np.array_equal(found, plain)


def test_what_an_invalid_pixel_of_an_example_holds_does_not_matter(segmenter: FewShotSegmenter) -> None:
    hidden = np.zeros(IMAGE.shape, bool)
    hidden[:, :8] = True
    masks = []
    for held in (0.0, 1.0, np.nan):
        pixels = np.where(hidden, np.float32(held), IMAGE)
        masks.append(segment(IMAGE, [(np.ma.array(pixels, mask=hidden), MASK)], segmenter=segmenter))
    bank = segmenter.encode_support([np.where(hidden, np.float32(np.nan), IMAGE)], [np.where(hidden[0], 255, MASK)])
    assert np.array_equal(masks[0], masks[1])
    assert np.array_equal(masks[0], masks[2])
    scores = segmenter.predict(IMAGE[None], [bank])[0, 0]
    assert np.array_equal(masks[0] == 1, scores >= 128)


def test_masked_examples_are_ignored_there(segmenter: FewShotSegmenter) -> None:
    hidden = np.zeros((64, 64), bool)
    hidden[:, :32] = True
    known = np.where(hidden, 255, MASK).astype(np.uint8)
    expected = segment(IMAGE, [(IMAGE, known)], segmenter=segmenter)
    by_label = segment(IMAGE, [(IMAGE, np.ma.MaskedArray(MASK, hidden))], segmenter=segmenter)
    assert np.array_equal(by_label, expected)


@pytest.mark.parametrize("array", [(IMAGE * 4000).astype(np.uint16), IMAGE * 255, IMAGE * 40 - 30])
def test_unscaled_numbers_are_warned_of(segmenter: FewShotSegmenter, array: Any) -> None:
    with pytest.warns(UnscaledWarning, match="scale it"):
        found = segment(array, [(IMAGE, MASK)], segmenter=segmenter)
    assert found.shape == MASK.shape


def test_any_number_type_gives_the_same(segmenter: FewShotSegmenter) -> None:
    expected = segment(IMAGE, [(IMAGE, MASK)], segmenter=segmenter)
    wide = segment(IMAGE.astype(np.float64), [(IMAGE, MASK.astype(bool))], segmenter=segmenter)
    assert np.array_equal(wide, expected)
    assert ((expected == 1) == (MASK == 1)).mean() > 0.9


def test_a_path_is_read_on_the_grid_of_the_bands_that_are_asked_for(
    segmenter: FewShotSegmenter, tmp_path: Path
) -> None:
    """As a run reads it: a product of 10 and 20 m whose band of 20 m is wanted is not resampled to 10 m."""
    fine = np.full((128, 128), 2000, np.uint16)
    coarse = np.where(MASK, 1500, 9000).astype(np.uint16).repeat(2, 0).repeat(2, 1)
    safe = write_safe(tmp_path, {"B04": fine, "B11": coarse})
    found = segment(str(safe), [(str(safe), MASK)], bands=["B11"], scale=(0, 10000), segmenter=segmenter)
    assert found.shape[-2:] == (64, 64)
