"""Counting, summing and resampling."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hdm_pipeline.iou import Counts, count, summarize


def test_ignored_pixels_count_nowhere() -> None:
    truth = np.array([[1, 1, 0, 0, 255, 255]], dtype=np.uint8)
    prediction = np.array([[True, False, True, False, True, False]])
    assert count(prediction, truth) == Counts(hit=1, false_alarm=1, missed=1, rest=1)


def test_figures_of_counts() -> None:
    counts = Counts(hit=6, false_alarm=2, missed=4, rest=8)
    assert (counts.iou, counts.background_iou, counts.dice) == (6 / 12, 8 / 14, 12 / 18)
    assert (counts.agreement, counts.false_share) == (14 / 20, 2 / 10)


def test_iou_is_summed_over_episodes_before_it_is_divided() -> None:
    episodes = [("a", Counts(hit=90, missed=10, rest=100)), ("a", Counts(hit=0, missed=10, rest=190))]
    summary = summarize(episodes)
    assert summary.tasks["a"].iou == pytest.approx(90 / 110)  # not the mean of 0.9 and 0
    assert summary.tasks["a"].dice == pytest.approx(180 / 200)


def test_the_mean_is_over_tasks_not_episodes() -> None:
    episodes = [("a", Counts(hit=1))] * 9 + [("b", Counts(missed=1))]
    assert summarize(episodes).mean_iou == pytest.approx(0.5)


def test_fb_iou_pools_all_episodes() -> None:
    summary = summarize([("a", Counts(hit=1, false_alarm=1, rest=2)), ("b", Counts(hit=1, missed=1, rest=2))])
    assert summary.fb_iou == pytest.approx((2 / 4 + 4 / 6) / 2)


def test_a_task_without_any_foreground_has_no_iou_and_does_not_spoil_the_mean() -> None:
    summary = summarize([("empty", Counts(rest=10)), ("b", Counts(hit=3, missed=1))])
    assert math.isnan(summary.tasks["empty"].iou)
    assert summary.mean_iou == pytest.approx(0.75)


def test_false_alarms_where_there_is_no_target() -> None:
    summary = summarize([("a", Counts(false_alarm=1, rest=99)), ("a", Counts(rest=100)), ("a", Counts(hit=5, rest=5))])
    assert summary.empty_false_share == pytest.approx(0.005)
    assert summarize([("a", Counts(hit=5))]).empty_false_share is None


def test_intervals_hold_the_figure_and_shrink_with_more_episodes() -> None:
    generator = np.random.default_rng(3)

    def draw(episodes: int) -> list[tuple[str, Counts]]:
        return [("a", Counts(hit=int(hit), missed=100 - int(hit))) for hit in generator.integers(20, 80, episodes)]

    few, many = summarize(draw(8)), summarize(draw(200))
    for summary in (few, many):
        low, high = summary.tasks["a"].iou_interval
        assert low <= summary.tasks["a"].iou <= high
        assert summary.mean_iou_interval == pytest.approx((low, high))
    widths = [summary.mean_iou_interval[1] - summary.mean_iou_interval[0] for summary in (few, many)]
    assert widths[1] < 0.5 * widths[0]


def test_resampling_is_deterministic() -> None:
    episodes = [("a", Counts(hit=i, missed=3)) for i in range(9)]
    assert summarize(episodes) == summarize(episodes)
