"""Calibration by held-out examples, and the scores between which an area lies."""

from __future__ import annotations

import numpy as np
import pytest

from hdm_pipeline.stitch import temper
from hdm_pipeline.support.area_interval import DEFAULT, interval_scores
from hdm_pipeline.support.reliability import Reliability
from hdm_pipeline.support.temperature import choose_temperature, tempered


def held_out(temperature: float, seed: int, pixels: int = 20_000) -> Reliability:
    """An example whose scores are right once their log odds are divided by a temperature."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(0, 2, pixels)
    truth = rng.random(pixels) < 1 / (1 + np.exp(-odds))
    told = 255 / (1 + np.exp(-odds * temperature))
    return Reliability.of(told.round().astype(np.uint8)[None], truth.astype(np.uint8)[None])


@pytest.mark.parametrize("temperature", [0.5, 0.8, 1.5, 3.0, 4.0])
def test_a_temperature_is_monotone_and_leaves_a_half_where_it_is(temperature: float) -> None:
    table = temper(temperature).astype(int)
    assert (np.diff(table) >= 0).all()
    assert table[:128].max() <= 127
    assert table[128:].min() >= 128
    assert (table[200] < 200) == (temperature > 1)


def test_scores_that_are_too_sure_are_told_by_held_out_examples() -> None:
    found = choose_temperature([held_out(2.0, 1), held_out(2.0, 2), None])
    assert found.temperature == pytest.approx(2.0, rel=0.1)
    assert found.error is not None
    assert found.error[1] < 0.02 < found.error[0]
    assert found.pixels == 40_000


def test_right_scores_are_left_alone() -> None:
    found = choose_temperature([held_out(1.0, 1), held_out(1.0, 2)])
    assert found.temperature == 1.0
    assert found.reason == ""


@pytest.mark.parametrize(
    "shown", [[held_out(2.0, 1)], [held_out(2.0, 1), None], [held_out(2.0, 1), held_out(2.0, 2, 400)]]
)
def test_too_little_to_go_by_changes_nothing_and_says_why(shown: list[Reliability | None]) -> None:
    found = choose_temperature(shown)
    assert found.temperature == 1.0
    assert "example" in found.reason


def test_the_interval_reaches_to_the_scores_at_which_held_out_areas_are_right() -> None:
    assert interval_scores([None], 1.0) == DEFAULT
    # Half of what scores 20 is target: the area is right only where these count.
    timid = Reliability.of(np.repeat([0, 20, 250], 100)[None].astype(np.uint8), np.repeat([0, 1, 1], 100)[None])
    low, high = interval_scores([timid], 1.0)
    assert 0 < low <= 20 / 255
    assert high == DEFAULT[1]
    # What scores below 250 is none: only the surest pixels make the right area.
    bold = Reliability.of(np.repeat([0, 230, 250], 100)[None].astype(np.uint8), np.repeat([0, 0, 1], 100)[None])
    low, high = interval_scores([bold], 1.0)
    assert low == DEFAULT[0]
    assert 230 / 255 < high <= 250 / 255
    assert interval_scores([timid, bold], 1.0)[0] < low


def test_fewer_than_25_pixels_of_the_target_do_not_widen_the_interval() -> None:
    def timid(target: int) -> Reliability:
        scores = np.repeat([0, 20], [1000, target])[None].astype(np.uint8)
        return Reliability.of(scores, (scores > 0).astype(np.uint8))

    assert interval_scores([timid(24)], 1.0) == DEFAULT
    assert interval_scores([timid(25)], 1.0)[0] < DEFAULT[0]


def test_an_interval_is_told_on_calibrated_scores() -> None:
    bold = Reliability.of(np.repeat([0, 230, 250], 100)[None].astype(np.uint8), np.repeat([0, 0, 1], 100)[None])
    assert interval_scores([bold], 3.0)[1] < interval_scores([bold], 1.0)[1]
    assert tempered(bold, 3.0).target.sum() == 100
