"""Whether scores mean what they say, by task: before and after the temperature that held-out examples choose."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hdm_pipeline.support.reliability import Reliability
from hdm_pipeline.support.temperature import tempered


@dataclass(frozen=True, eq=False)
class TaskCalibration:
    """Scores of a task's queries against the truth; they add.

    Attributes:
        plain: as the network gives them.
        calibrated: as a run publishes them.
        temperatures: one for each query: that of its examples, 1 where they could not be held out.
    """

    plain: Reliability
    calibrated: Reliability
    temperatures: tuple[float, ...]

    @classmethod
    def of(cls, plain: Reliability, temperature: float) -> TaskCalibration:
        """Of one query."""
        return cls(plain, tempered(plain, temperature), (temperature,))

    def __add__(self, other: TaskCalibration) -> TaskCalibration:
        return TaskCalibration(
            self.plain + other.plain, self.calibrated + other.calibrated, self.temperatures + other.temperatures
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON-able; the expected calibration errors are None without a labelled pixel."""
        return {
            "error": _known(self.plain.expected_error),
            "error_calibrated": _known(self.calibrated.expected_error),
            "temperatures": sorted({round(temperature, 4) for temperature in self.temperatures}),
            "reliability": listed(self.plain),
            "reliability_calibrated": listed(self.calibrated),
        }


def by_task(queries: Iterable[tuple[str, Reliability, float]]) -> dict[str, TaskCalibration]:
    """Of queries, each with its task, its scores and the temperature of its examples, summed up by task."""
    found: dict[str, TaskCalibration] = {}
    for task, plain, temperature in queries:
        one = TaskCalibration.of(plain, temperature)
        found[task] = found[task] + one if task in found else one
    return found


def overall(tasks: dict[str, TaskCalibration]) -> TaskCalibration:
    """All tasks together, pixel by pixel."""
    nothing = Reliability(np.zeros(256, np.int64), np.zeros(256, np.int64))
    return sum(tasks.values(), TaskCalibration(nothing, nothing, ()))


def listed(found: Reliability) -> list[dict[str, float | int]]:
    """The bins of a diagram, JSON-able."""
    return [
        {"probability": probability, "share_of_target": share, "pixels": pixels}
        for probability, share, pixels in found.bins
    ]


def calibration_text(tasks: dict[str, TaskCalibration]) -> str:
    """Expected calibration errors by task and of all, and the bins of all, for people."""
    width = max(12, *(len(task) for task in tasks))
    lines = [f"{'calibration error':{max(width, 17)}}  as scored  calibrated  temperature"]
    rows = [*tasks.items(), ("all pixels", overall(tasks))]
    for name, found in rows:
        span = sorted(set(found.temperatures)) or [1.0]
        degrees = f"{span[0]:.2f}" if len(span) == 1 else f"{span[0]:.2f} to {span[-1]:.2f}"
        errors = f"{found.plain.expected_error:9.3f}  {found.calibrated.expected_error:10.3f}"
        lines.append(f"{name:{max(width, 17)}}  {errors}  {degrees}")
    plain = _mean([found.plain.expected_error for found in tasks.values()])
    calibrated = _mean([found.calibrated.expected_error for found in tasks.values()])
    lines.append(f"{'mean of tasks':{max(width, 17)}}  {plain:9.3f}  {calibrated:10.3f}")
    lines.append("of pixels calibrated to about a probability, so many are target (all tasks):")
    bins = overall(tasks).calibrated.bins
    lines.append("  " + "  ".join(f"{probability:.2f}: {share:.2f}" for probability, share, _ in bins))
    return "\n".join(lines)


def _mean(values: Sequence[float]) -> float:
    """Of those that are known; NaN where none is."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def _known(value: float) -> float | None:
    """JSON has no NaN."""
    return None if np.isnan(value) else value
