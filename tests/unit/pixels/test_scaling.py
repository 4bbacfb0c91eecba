"""Values to 0..1."""

from __future__ import annotations

import numpy as np
import pytest

from hdm_pipeline.pixels.scaling import example_ranges, scale_pixels


def test_the_examples_of_a_task_share_percentiles_by_band_that_shrug_at_outliers() -> None:
    generator = np.random.default_rng(0)
    values = np.stack([generator.uniform(0, 1, 10_000), generator.uniform(-30, -10, 10_000)]).astype(np.float32)
    values[:, :10] = 1e6
    (low, high), (second_low, second_high) = example_ranges([values[:, :3000], values[:, 3000:]])
    assert (low, second_low) == pytest.approx((0.005, -29.9), abs=0.05)
    assert (high, second_high) == pytest.approx((0.995, -10.1), abs=0.05)


def test_a_flat_band_reaches_its_largest_value_and_never_divides_by_zero() -> None:
    flat = np.full((1, 1000), 7.0, np.float32)
    assert example_ranges([flat]) == ((7.0, 8.0),)
    flat[0, 0] = 90.0
    assert example_ranges([flat]) == ((7.0, 90.0),)


def test_pixels_are_clipped_and_one_range_serves_all_bands() -> None:
    pixels = np.array([[[-5.0, 0.0, 5.0]], [[10.0, 20.0, 2.5]]], np.float32)
    assert scale_pixels(pixels, [(0.0, 10.0)]).tolist() == [[[0.0, 0.0, 0.5]], [[1.0, 1.0, 0.25]]]
    assert scale_pixels(pixels, [(-5.0, 5.0), (0.0, 20.0)]).tolist() == [[[0.0, 0.5, 1.0]], [[0.5, 1.0, 0.125]]]
