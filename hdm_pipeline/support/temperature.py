"""How sure scores may be: one temperature for a class, by examples that the others segmented.

A network is mostly too sure of itself, or not sure enough. Log odds divided by a temperature (Guo et al., "On
calibration of modern neural networks", ICML 2017) are monotone and leave a probability of 0.5 where it is, so a mask at
that threshold stays as it is. The temperature is the one under which the held-out examples' truths are most likely.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hdm_pipeline.stitch import temper
from hdm_pipeline.support.reliability import Reliability

_CANDIDATES = np.geomspace(0.5, 4.0, 49)
_LEAST_PIXELS = 500  # of target and of background, in each of at least two examples
_LEAST_GAIN = 0.01  # share of the loss


@dataclass(frozen=True)
class Calibration:
    """What held-out examples say of the scores of a class.

    Attributes:
        temperature: what log odds are divided by; 1 leaves scores as they are.
        reason: why it is 1 without having been chosen; else empty.
        pixels: held-out pixels that it rests on.
        error: expected calibration error over these pixels before and after; None where nothing was measured.
    """

    temperature: float = 1.0
    reason: str = ""
    pixels: int = 0
    error: tuple[float, float] | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, for `run.json`."""
        return {
            "temperature": round(self.temperature, 4),
            "reason": self.reason,
            "pixels": self.pixels,
            "calibration_error": None if self.error is None else [round(value, 4) for value in self.error],
        }


def choose_temperature(held_out: Sequence[Reliability | None]) -> Calibration:
    """The temperature of a class.

    Args:
        held_out: scores of each example by the others, against its labels; None where they could not tell. Every
            example counts alike, whatever its size.
    """
    if len(held_out) < 2:
        return Calibration(reason="one example cannot be held out")
    shown = [r for r in held_out if r is not None and min(r.target.sum(), r.rest.sum()) >= _LEAST_PIXELS]
    if len(shown) < 2:
        return Calibration(reason=f"fewer than two examples hold {_LEAST_PIXELS} pixels of target and of background")
    losses = np.array([sum(_loss(r, temperature) for r in shown) for temperature in (1.0, *_CANDIDATES)])
    best = int(losses.argmin())
    chosen = 1.0 if losses[best] > losses[0] * (1 - _LEAST_GAIN) else float((1.0, *_CANDIDATES)[best])
    total = shown[0]
    for other in shown[1:]:
        total = total + other
    after = tempered(total, chosen).expected_error
    return Calibration(chosen, "", int(total.target.sum() + total.rest.sum()), (total.expected_error, after))


def tempered(found: Reliability, temperature: float) -> Reliability:
    """The same pixels under their calibrated scores."""
    table = temper(temperature)
    target, rest = (
        np.bincount(table, weights=counts, minlength=256).astype(np.int64) for counts in (found.target, found.rest)
    )
    return Reliability(target, rest)


def _loss(found: Reliability, temperature: float) -> float:
    """Mean negative log likelihood of the truth."""
    odds = _log_odds() / temperature
    wrong = found.target * np.logaddexp(0, -odds) + found.rest * np.logaddexp(0, odds)
    return float(wrong.sum() / (found.target + found.rest).sum())


def _log_odds() -> npt.NDArray[np.float64]:
    scores = np.clip(np.arange(256), 0.5, 254.5) / 255
    return np.log(scores / (1 - scores))
