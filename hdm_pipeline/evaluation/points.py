"""How good weights are with a few labelled pixels: masks of examples thinned to points, and the IoU by number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hdm_pipeline.contracts import IGNORE, Labels
from hdm_pipeline.errors import ConfigError
from hdm_pipeline.evaluation.episode_list import SupportSet


def parse_points(text: str) -> tuple[int, ...]:
    """Numbers of points, ascending, from "1,5,20".

    Raises:
        ConfigError: it is no list of positive numbers.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ConfigError(
            f"not a list of positive numbers: {text!r}", where="--points", remedy="write numbers as 1,5,20,100"
        )
    return tuple(sorted({int(part) for part in parts}))


def keep_points(support: SupportSet, count: int, seed: int) -> SupportSet:
    """Examples of which `count` random pixels of each class keep their label; the rest becomes unknown.

    Fewer points are a part of more points. A class of fewer pixels keeps them all.

    Args:
        support: K examples.
        count: pixels of the target, and as many of the background, in each of them.
        seed: equal seeds keep equal pixels; each example draws its own.
    """
    thinned = [_thinned(mask, count, np.random.default_rng([seed, i])) for i, mask in enumerate(support.masks)]
    return replace(support, masks=tuple(thinned))


def _thinned(mask: Labels, count: int, generator: np.random.Generator) -> Labels:
    kept = np.full_like(mask, IGNORE)
    for value in (0, 1):
        kept.flat[generator.permutation(np.flatnonzero(mask == value))[:count]] = value
    return kept


def curve_text(figures: Sequence[dict[str, Any]]) -> str:
    """IoU by number of points, for people: a line for each task, the mean and the baseline.

    Args:
        figures: what `evaluate --json` keeps of each number of points (None for whole masks), in the order of columns.
    """
    width = max(12, *(len(task) for each in figures for task in each["tasks"]))
    heads = ["all" if each["points"] is None else str(each["points"]) for each in figures]
    rows = [("points a class", heads)]
    tasks = dict.fromkeys(task for each in figures for task in each["tasks"])
    rows += [(task, [_figure(each["tasks"].get(task, {}).get("iou")) for each in figures]) for task in tasks]
    rows.append(("mean (mIoU)", [_figure(each["mean_iou"]) for each in figures]))
    if any(each["baseline"] for each in figures):
        rows.append(("baseline", [_figure((each["baseline"] or {}).get("mean_iou")) for each in figures]))
    return "\n".join(f"{name:{max(width, 14)}}" + "".join(f"{cell:>8}" for cell in cells) for name, cells in rows)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
