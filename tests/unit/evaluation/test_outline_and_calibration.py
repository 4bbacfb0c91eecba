"""Boundary F1 and calibration, against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hdm_pipeline.evaluation.outline import OutlineCounts, count_outlines
from hdm_pipeline.support.reliability import Reliability


def square(left: int, size: int = 40) -> np.ndarray:
    mask = np.zeros((size, size), np.uint8)
    mask[10:30, left : left + 15] = 1
    return mask


def test_equal_outlines_score_one_and_distant_ones_nothing() -> None:
    assert count_outlines(square(5) == 1, square(5)).f1 == 1.0
    assert count_outlines(square(5) == 1, np.roll(square(5), 18, 1)).f1 < 0.3
    assert count_outlines(square(5) == 0, square(5)).f1 == 1.0  # the outline of the rest runs beside it


@pytest.mark.parametrize(("shift", "perfect"), [(2, True), (3, False)])
def test_two_pixels_are_forgiven_and_three_are_not(shift: int, perfect: bool) -> None:
    counts = count_outlines(square(10 + shift) == 1, square(10))
    assert (counts.f1 == 1.0) is perfect
    assert counts.drawn == counts.true == 2 * 20 + 2 * 13


def test_one_of_two_objects_found_is_full_precision_and_half_recall() -> None:
    truth = np.zeros((60, 60), np.uint8)
    truth[5:15, 5:15] = truth[40:50, 40:50] = 1
    drawn = truth.copy()
    drawn[40:50, 40:50] = 0
    counts = count_outlines(drawn == 1, truth)
    assert (counts.drawn_near, counts.drawn, counts.true_near, counts.true) == (36, 36, 36, 72)
    assert counts.f1 == pytest.approx(2 / 3)


def test_the_edge_of_what_is_unknown_is_no_outline() -> None:
    truth = np.full((20, 20), 255, np.uint8)
    truth[:, :10] = 1
    counts = count_outlines(np.ones((20, 20), bool), truth)
    assert counts == OutlineCounts()
    assert np.isnan(counts.f1)


def test_nothing_drawn_scores_zero() -> None:
    assert count_outlines(np.zeros((40, 40), bool), square(5)).f1 == 0.0


def test_outline_counts_add() -> None:
    one, two = count_outlines(square(10) == 1, square(10)), count_outlines(square(16) == 1, square(10))
    assert (one + two).f1 == pytest.approx((one.drawn_near + two.drawn_near) / (one.drawn + two.drawn))


def test_scores_that_mean_what_they_say_have_no_error() -> None:
    scores = np.repeat(np.array([51, 204], np.uint8), 100).reshape(2, 100)
    truth = np.zeros((2, 100), np.uint8)
    truth[0, :20] = truth[1, :80] = 1
    found = Reliability.of(scores, truth)
    assert found.bins == [(pytest.approx(0.2), pytest.approx(0.2), 100), (pytest.approx(0.8), pytest.approx(0.8), 100)]
    assert found.expected_error == pytest.approx(0.0, abs=1e-9)


def test_overconfidence_is_measured_and_unknown_pixels_are_not() -> None:
    scores = np.full((10, 10), 255, np.uint8)
    truth = np.zeros((10, 10), np.uint8)
    truth[:6] = 1
    truth[9] = 255
    found = Reliability.of(scores, truth)
    assert found.expected_error == pytest.approx(1 / 3)
    assert (found + found).bins[0][2] == 180


def test_without_pixels_there_is_no_error() -> None:
    assert np.isnan(Reliability.of(np.zeros((2, 2), np.uint8), np.full((2, 2), 255, np.uint8)).expected_error)
