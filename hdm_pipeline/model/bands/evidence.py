"""A closed-form rule on all bands: ridge regression from pixel features to the labels of the examples.

Solved once a class from moment matrices. Its penalty, and the two Gaussians that turn its score into log odds, come
from examples that it was not solved on, in closed form too: the moments of one example are left out, the rest is
solved, and how that scores the example follows from the example's own moments. One example is cut in two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hdm_pipeline.model.bands.examples import BACKGROUND, TARGET, BandExample
from hdm_pipeline.model.bands.pixels import feature_count, features_at, linear_map
from hdm_pipeline.model.halves import halves

PENALTIES = (0.003, 0.03, 0.3, 3.0)
"""Ridge penalties that are tried, for features of unit variance."""

MOST_ODDS = 8.0
"""Log odds are softly limited to this."""

_LEAST_VARIANCE = 0.02  # of the score, which is about +1 on target and -1 on background
_LEAST_SPREAD = 1e-4


@dataclass(frozen=True, eq=False)
class BandEvidence:
    """A linear score of a pixel's features, and what it means.

    Attributes:
        coefficients: [`pixels.feature_count`] float32.
        offset, slope: the log likelihood ratio of target to background is slope * (score - offset); a slope of 0 says
            that the rule failed on the examples it was not solved on.
    """

    coefficients: npt.NDArray[np.float32]
    offset: float
    slope: float

    def log_odds(self, bands: Tensor, valid: Tensor) -> Tensor:
        """[B, H, W] within +-`MOST_ODDS`.

        Args:
            bands: [B, N, H, W] float32 in 0..1.
            valid: [B, H, W] bool; what is not valid has no influence on its surroundings.
        """
        coefficients = torch.from_numpy(np.array(self.coefficients)).to(bands.device)
        score = linear_map(bands, valid, coefficients)
        return MOST_ODDS * torch.tanh((score - self.offset) * (self.slope / MOST_ODDS))

    @classmethod
    def solve(cls, examples: Sequence[BandExample]) -> BandEvidence:
        """The rule of a class; without any power where the examples lack target or background."""
        parts = _parts(examples)
        rows = torch.cat([side for part in parts for side in part])
        if not all(any(len(part[label]) for part in parts) for label in (BACKGROUND, TARGET)):
            return cls(np.zeros(feature_count(len(examples[0].bands)), np.float32), 0.0, 0.0)
        center, spread = rows.mean(0), rows.std(0, correction=0).clamp_min(_LEAST_SPREAD)
        moments = [_PartMoments(*(_Moments.of((side - center) / spread) for side in part)) for part in parts]
        tried = [(_calibrate(moments, penalty), penalty) for penalty in PENALTIES]
        found, penalty = max(tried, key=lambda each: each[0].worth)
        solved = _solve(moments, penalty)
        coefficients = solved[:-1] / spread
        constant = solved[-1] - coefficients @ center
        return cls(coefficients.float().numpy(), float(found.offset - constant), found.slope)


@dataclass(frozen=True)
class _Moments:
    """Sums over the pixels of one side of one part; they add.

    Attributes:
        count: pixels.
        second: [D + 1, D + 1] of feature * feature^T, the last feature constant 1.
    """

    count: int
    second: Tensor

    @classmethod
    def of(cls, rows: Tensor) -> _Moments:
        rows = torch.cat((rows, torch.ones_like(rows[:, :1])), dim=1)
        return cls(len(rows), rows.T @ rows)

    def __add__(self, other: _Moments) -> _Moments:
        return _Moments(self.count + other.count, self.second + other.second)

    @property
    def mean(self) -> Tensor:
        """[D + 1, D + 1] a pixel."""
        return self.second / max(self.count, 1)

    def score(self, coefficients: Tensor) -> tuple[float, float]:
        """Mean of a score, and of its square."""
        return float(self.mean[-1] @ coefficients), float(coefficients @ self.mean @ coefficients)


@dataclass(frozen=True)
class _PartMoments:
    background: _Moments
    target: _Moments

    def __add__(self, other: _PartMoments) -> _PartMoments:
        return _PartMoments(self.background + other.background, self.target + other.target)

    @property
    def complete(self) -> bool:
        return bool(self.background.count and self.target.count)


@dataclass(frozen=True)
class _Calibration:
    """Two Gaussians of one variance; `worth` is the squared distance of their means in units of it, negative where the
    target scored lower than the background."""

    offset: float
    slope: float
    worth: float


def _solve(parts: Sequence[_PartMoments], penalty: float) -> Tensor:
    """Coefficients [D + 1] of a class-balanced regression to +1 and -1."""
    whole = sum(parts[1:], start=parts[0])
    low, high = whole.background.mean, whole.target.mean
    gram, right = 0.5 * (low + high), 0.5 * (high[-1] - low[-1])
    ridge = torch.full_like(right, penalty)
    ridge[-1] = 1e-6  # the constant is free
    return torch.cholesky_solve(right[:, None], torch.linalg.cholesky(gram + ridge.diag()))[:, 0]


def _calibrate(parts: Sequence[_PartMoments], penalty: float) -> _Calibration:
    """How the rule scores parts that it was not solved on."""
    background: list[tuple[float, float]] = []
    target: list[tuple[float, float]] = []
    for index, part in enumerate(parts):
        others = [other for number, other in enumerate(parts) if number != index]
        if not others or not sum(others[1:], start=others[0]).complete:
            continue
        coefficients = _solve(others, penalty)
        background += [part.background.score(coefficients)] if part.background.count else []
        target += [part.target.score(coefficients)] if part.target.count else []
    if not background or not target:
        return _Calibration(0.0, 0.0, -np.inf)
    (low, low_square), (high, high_square) = np.mean(background, axis=0), np.mean(target, axis=0)
    variance = max(0.5 * float(low_square - low**2 + high_square - high**2), _LEAST_VARIANCE)
    gap = float(high - low)
    return _Calibration(0.5 * float(high + low), max(gap, 0.0) / variance, gap * abs(gap) / variance)


def _parts(examples: Sequence[BandExample]) -> list[tuple[Tensor, Tensor]]:
    """Features [n, D] of background and target of each example; of one example, of its two halves."""
    if len(examples) == 1 and (sides := halves(examples[0].labels)) is not None:
        examples = [replace(examples[0], labels=side) for side in sides]
    return [
        (features_at(e.bands, e.valid, e.places(BACKGROUND)), features_at(e.bands, e.valid, e.places(TARGET)))
        for e in examples
    ]
