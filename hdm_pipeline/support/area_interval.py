"""Between which scores an area lies: by the examples that others segmented, and never narrower than 0.3 to 0.7.

Errors of neighbouring pixels go together, so the spread that independent pixels would give (the sum of p (1 - p)) is
far too small. What is told instead: the area at a high score and the area at a low one. For each held-out example there
is a score at which the segmented area is just the labelled one; the interval spans these scores.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hdm_pipeline.model.partial_labels import LEAST_TARGET
from hdm_pipeline.support.reliability import Reliability
from hdm_pipeline.support.temperature import tempered

DEFAULT = (0.3, 0.7)
"""Probabilities between which the area lies where examples say nothing else."""


def interval_scores(held_out: Sequence[Reliability | None], temperature: float) -> tuple[float, float]:
    """The least probability (0..1) of a pixel that counts for the largest area, and for the smallest.

    Args:
        held_out: scores of each example by the others, against its labels; None where they could not tell. An example
            of fewer than 25 pixels of the target decides nothing.
        temperature: that scores are calibrated with.
    """
    shown = [r for r in held_out if r is not None and r.target.sum() >= LEAST_TARGET]
    matching = [_matching_score(tempered(r, temperature)) for r in shown]
    return min([DEFAULT[0], *matching]), max([DEFAULT[1], *matching])


def _matching_score(found: Reliability) -> float:
    """The threshold at which as many pixels are called target as are labelled so; the middle of several."""
    called = np.cumsum((found.target + found.rest)[::-1])[::-1]  # [score]: pixels of this score and more
    off = np.abs(called[1:] - found.target.sum())
    best = np.flatnonzero(off == off.min()) + 1
    return float(best[len(best) // 2]) / 255
