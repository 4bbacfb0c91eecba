"""Boundary F1 and calibration, against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hdm_pipeline.evaluation.calibration import by_task, calibration_text, overall
from hdm_pipeline.evaluation.diagram import CALIBRATED, PLAIN, SIDE, draw_diagram
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


def test_calibration_is_told_by_task_before_and_after() -> None:
    """Scores of 0.88 that are right in three pixels of four, and ones that are right already."""
    bold = np.repeat(np.array([31, 224], np.uint8), 400)[None]
    truth = np.zeros((1, 800), np.uint8)
    truth[0, :100] = truth[0, 400:700] = 1
    plain = Reliability.of(bold, truth)
    fair = Reliability.of(np.full((1, 4), 255, np.uint8), np.ones((1, 4), np.uint8))
    tasks = by_task([("bold", plain, 1.775), ("fair", fair, 1.0), ("bold", plain, 1.775)])
    assert list(tasks) == ["bold", "fair"]
    facts = tasks["bold"].as_dict()
    assert facts["error"] == pytest.approx(0.128, abs=0.002)
    assert facts["error_calibrated"] < 0.005
    assert facts["temperatures"] == [1.775]
    assert sum(entry["pixels"] for entry in facts["reliability"]) == 1600
    assert tasks["fair"].as_dict()["error"] == 0.0
    assert overall(tasks).as_dict()["error"] == pytest.approx(0.128 * 1600 / 1604, abs=0.002)
    text = calibration_text(tasks).splitlines()
    assert text[1].split() == ["bold", "0.128", f"{facts['error_calibrated']:.3f}", "1.77"]
    assert text[-3].split()[:3] == ["mean", "of", "tasks"]


def test_the_diagram_shows_scores_off_the_diagonal_and_calibrated_ones_on_it() -> None:
    bold = np.repeat(np.array([31, 224], np.uint8), 400)[None]
    truth = np.zeros((1, 800), np.uint8)
    truth[0, :100] = truth[0, 400:700] = 1
    picture = np.asarray(draw_diagram(by_task([("bold", Reliability.of(bold, truth), 1.775)])))
    assert picture.shape[1] > 2 * SIDE  # all pixels, and the task
    off = {}
    for color in (PLAIN, CALIBRATED):
        rows, columns = np.nonzero((picture[36 : 36 + SIDE + 1, 36 : 36 + SIDE + 1] == color).all(-1))
        across, up = columns / SIDE, 1 - rows / SIDE
        off[color] = np.median(abs(across - up))
    assert off[PLAIN] > 0.05
    assert off[CALIBRATED] < 0.02


def test_without_a_query_there_is_nothing_to_tell() -> None:
    facts = overall({}).as_dict()
    assert (facts["error"], facts["reliability"]) == (None, [])


@pytest.mark.filterwarnings("error")
def test_without_a_labelled_pixel_the_mean_is_unknown() -> None:
    unknown = Reliability.of(np.zeros((2, 2), np.uint8), np.full((2, 2), 255, np.uint8))
    text = calibration_text(by_task([("unknown", unknown, 1.0)])).splitlines()
    assert text[-3].split() == ["mean", "of", "tasks", "nan", "nan"]
