"""Figures of a segmentation as the few-shot field computes them (SPEC.md section 8).

Intersections and unions are summed over the episodes of a task before they are divided; the mean is taken over tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_RESAMPLES = 1000
_INTERVAL = (2.5, 97.5)


@dataclass(frozen=True)
class Counts:
    """Pixels of one or several episodes, ignored ones left out.

    Attributes:
        hit: foreground called foreground.
        false_alarm: background called foreground.
        missed: foreground called background.
        rest: background called background.
    """

    hit: int = 0
    false_alarm: int = 0
    missed: int = 0
    rest: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.hit + other.hit,
            self.false_alarm + other.false_alarm,
            self.missed + other.missed,
            self.rest + other.rest,
        )

    @property
    def iou(self) -> float:
        """Intersection over union of the foreground; NaN where neither truth nor prediction has any."""
        return _ratio(self.hit, self.hit + self.false_alarm + self.missed)

    @property
    def background_iou(self) -> float:
        """Intersection over union of the background."""
        return _ratio(self.rest, self.rest + self.false_alarm + self.missed)

    @property
    def dice(self) -> float:
        """Dice coefficient (F1) of the foreground."""
        return _ratio(2 * self.hit, 2 * self.hit + self.false_alarm + self.missed)

    @property
    def agreement(self) -> float:
        """Share of the pixels on which prediction and truth agree."""
        agreed = self.hit + self.rest
        return _ratio(agreed, agreed + self.false_alarm + self.missed)

    @property
    def false_share(self) -> float:
        """Share of the background that was called foreground."""
        return _ratio(self.false_alarm, self.false_alarm + self.rest)


@dataclass(frozen=True)
class Summary:
    """Figures over a whole list.

    Attributes:
        tasks: figures of each task, by name in order of appearance.
        mean_iou: mean of the tasks' IoU (mIoU).
        mean_iou_interval: 95 % bootstrap interval of `mean_iou`, episodes resampled within their tasks.
        fb_iou: mean of the pooled foreground IoU and the pooled background IoU.
        empty_false_share: mean share of pixels called foreground in queries without foreground; None without any.
    """

    tasks: Mapping[str, TaskFigures]
    mean_iou: float
    mean_iou_interval: tuple[float, float]
    fb_iou: float
    empty_false_share: float | None


@dataclass(frozen=True)
class TaskFigures:
    """IoU with its 95 % bootstrap interval, Dice, and the number of episodes of one task."""

    iou: float
    dice: float
    episodes: int
    iou_interval: tuple[float, float]


def count(prediction: npt.NDArray[np.bool_], truth: npt.NDArray[np.uint8]) -> Counts:
    """Compare a prediction [y, x] with a truth [y, x] of 1 foreground, 0 background, 255 ignored."""
    foreground, background = truth == 1, truth == 0
    hit = int(np.count_nonzero(prediction & foreground))
    false_alarm = int(np.count_nonzero(prediction & background))
    return Counts(
        hit, false_alarm, int(np.count_nonzero(foreground)) - hit, int(np.count_nonzero(background)) - false_alarm
    )


def iou(prediction: npt.NDArray[np.bool_], truth: npt.NDArray[np.uint8]) -> float:
    """IoU of one prediction; NaN where neither has foreground."""
    return count(prediction, truth).iou


def summarize(episodes: Sequence[tuple[str, Counts]], *, seed: int = 0) -> Summary:
    """Figures of a list of (task, counts of one episode); deterministic for a seed."""
    by_task: dict[str, list[Counts]] = {}
    for task, counts in episodes:
        by_task.setdefault(task, []).append(counts)
    generator = np.random.default_rng(seed)
    tasks, resampled = {}, []
    for task, counted in by_task.items():
        ious = _bootstrap(counted, generator)
        resampled.append(ious)
        total = sum(counted, Counts())
        tasks[task] = TaskFigures(total.iou, total.dice, len(counted), _interval(ious))
    pooled = sum((counts for _, counts in episodes), Counts())
    empty = [counts.false_share for _, counts in episodes if counts.hit + counts.missed == 0 and counts.rest > 0]
    return Summary(
        tasks=tasks,
        mean_iou=_mean(np.array([figures.iou for figures in tasks.values()])),
        mean_iou_interval=_interval(_column_means(np.stack(resampled))) if resampled else (float("nan"),) * 2,
        fb_iou=(pooled.iou + pooled.background_iou) / 2,
        empty_false_share=float(np.mean(empty)) if empty else None,
    )


def _bootstrap(counted: Sequence[Counts], generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """IoU of `_RESAMPLES` draws with replacement."""
    intersections = np.array([counts.hit for counts in counted], dtype=np.float64)
    unions = np.array([counts.hit + counts.false_alarm + counts.missed for counts in counted], dtype=np.float64)
    draws = generator.integers(0, len(counted), size=(_RESAMPLES, len(counted)))
    return _quotients(intersections[draws].sum(axis=1), unions[draws].sum(axis=1))


def _column_means(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    known = ~np.isnan(values)
    return _quotients(np.where(known, values, 0.0).sum(axis=0), known.sum(axis=0).astype(np.float64))


def _quotients(parts: npt.NDArray[np.float64], wholes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    quotients = np.full(parts.shape, np.nan)
    np.divide(parts, wholes, out=quotients, where=wholes > 0)
    return quotients


def _interval(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    if known.size == 0:
        return float("nan"), float("nan")
    low, high = np.percentile(known, _INTERVAL)
    return float(low), float(high)


def _mean(values: npt.NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
