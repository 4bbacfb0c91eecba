"""Outlines of a class on a slice, against the definition: fill them, and the mask is back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from hdm_dicom.examples.rtstruct import filled
from hdm_dicom.structure_set.outlines import INSET, outlines

Mask = np.ndarray


def disc(shape: tuple[int, int], centre: tuple[float, float], radius: float) -> Mask:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.asarray(np.hypot(y - centre[0], x - centre[1]) < radius)


@settings(max_examples=300, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_filled_they_are_the_mask_whatever_the_rule_of_filling(mask: Mask) -> None:
    found = outlines(mask)
    assert len(found) == ndimage.label(mask)[1]  # regions are connected by the sides of pixels
    one_by_one = [filled([outline], mask.shape) for outline in found]
    union = np.zeros(mask.shape, bool)
    for region in one_by_one:
        assert not (union & region).any()
        union |= region
    assert np.array_equal(union, mask)  # programs that unite contours
    assert np.array_equal(filled(found, mask.shape), mask)  # programs that combine them by exclusive or


@settings(max_examples=300, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_rounded_to_pixels_they_keep_to_the_mask(mask: Mask) -> None:
    for outline in outlines(mask):
        x, y = np.rint(outline).astype(int).T
        assert mask[y, x].all()
        assert np.array_equal(np.rint(outline), np.rint(outline + 0.4 * INSET))


def test_a_pixel_is_a_square_around_its_centre() -> None:
    mask = np.zeros((4, 5), bool)
    mask[2, 3] = True
    (square,) = outlines(mask)
    half = 0.5 - INSET
    assert square.tolist() == pytest.approx(
        np.array([[3 - half, 2 - half], [3 + half, 2 - half], [3 + half, 2 + half], [3 - half, 2 + half]])
    )


def test_outlines_keep_the_area() -> None:
    mask = disc((80, 90), (40, 45), 30) & ~disc((80, 90), (35, 40), 8)
    (outline,) = outlines(mask)
    x, y = outline.T
    area = float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
    assert area == pytest.approx(mask.sum(), rel=0.005)


def test_holes_hang_on_what_lies_above_them() -> None:
    # Two holes side by side, one below another, and an island in a hole that has a hole itself.
    mask = np.zeros((30, 30), bool)
    mask[1:29, 1:29] = True
    mask[3:6, 4:7] = mask[3:6, 12:15] = mask[8:11, 5:8] = False
    mask[14:26, 5:25] = False
    mask[16:24, 8:20] = True
    mask[18:21, 11:16] = False
    outer, island = outlines(mask)
    assert np.array_equal(filled([outer, island], mask.shape), mask)
    # Each hole adds its four corners, and twice two points of its keyhole.
    assert (len(outer), len(island)) == (4 + 4 * 8, 4 + 8)
    # A keyhole goes straight, and never over the centre of a pixel.
    steps = np.diff(np.vstack([outer, outer[:1]]), axis=0)
    assert (np.abs(steps).min(axis=1) < 1e-9).all()


def test_nothing_has_no_outline() -> None:
    assert outlines(np.zeros((3, 4), bool)) == []
