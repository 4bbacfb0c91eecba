"""Masks thinned to points, and the curve of IoU by their number."""

from __future__ import annotations

import numpy as np
import pytest

from hdm_pipeline.errors import ConfigError
from hdm_pipeline.evaluation.episode_list import SupportSet
from hdm_pipeline.evaluation.points import curve_text, keep_points, parse_points


def support() -> SupportSet:
    masks = [np.zeros((30, 40), np.uint8) for _ in range(3)]
    masks[0][5:20, 5:20] = masks[1][5:20, 5:20] = 1
    masks[1][:, 30:] = 255
    masks[2][3, 3:6] = 1
    images = tuple(np.zeros((1, 30, 40), np.float32) for _ in masks)
    return SupportSet(images, tuple(masks), ("a", "b", "c"), ((0.0, 1.0),), None)


def test_so_many_pixels_of_each_class_keep_their_label() -> None:
    whole = support()
    for count in (1, 5, 100):
        for mask, points in zip(whole.masks, keep_points(whole, count, 0).masks, strict=True):
            for value in (0, 1):
                assert (points == value).sum() == min(count, (mask == value).sum())
            assert (points[points != 255] == mask[points != 255]).all()


def test_seeds_draw_and_fewer_are_a_part_of_more() -> None:
    whole = support()
    few, again, more, other = (keep_points(whole, n, seed).masks for n, seed in ((5, 0), (5, 0), (20, 0), (5, 1)))
    assert all(np.array_equal(a, b) for a, b in zip(few, again, strict=True))
    assert all((b[a != 255] == a[a != 255]).all() for a, b in zip(few, more, strict=True))
    assert not np.array_equal(few[0], other[0])
    assert not np.array_equal(few[0], few[1])  # examples draw apart
    assert (whole.masks[0] != 255).all()


def test_the_list_is_checked() -> None:
    assert parse_points("20, 1,5,5") == (1, 5, 20)
    for wrong in ("", "0", "1,,2", "-3", "a", "1.5"):
        with pytest.raises(ConfigError, match="not a list of positive numbers"):
            parse_points(wrong)


def test_the_curve_has_a_column_for_each_number() -> None:
    figures = [
        {"points": n, "tasks": {"t": {"iou": iou}}, "mean_iou": iou, "baseline": baseline}
        for n, iou, baseline in ((1, 0.1, {"mean_iou": 0.05}), (20, None, None), (None, 0.5, {"mean_iou": 0.25}))
    ]
    assert [line.split() for line in curve_text(figures).splitlines()] == [
        ["points", "a", "class", "1", "20", "all"],
        ["t", "0.100", "-", "0.500"],
        ["mean", "(mIoU)", "0.100", "-", "0.500"],
        ["baseline", "0.050", "-", "0.250"],
    ]
