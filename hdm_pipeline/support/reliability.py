"""Whether a score of 0.8 is right in eight pixels of ten: reliability by bins, and the expected calibration error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_SCORES = 256
BINS = 16  # of 16 scores each


@dataclass(frozen=True, eq=False)
class Reliability:
    """Pixels by score and truth; adds over episodes.

    Attributes:
        target: [256] pixels of the target with each score.
        rest: [256] other pixels with each score.
    """

    target: npt.NDArray[np.int64]
    rest: npt.NDArray[np.int64]

    @classmethod
    def of(cls, scores: npt.NDArray[np.uint8], truth: npt.NDArray[np.uint8]) -> Reliability:
        """Count scores [y, x] 0..255 by a truth [y, x] of 1, 0 and 255, where what is 255 counts nowhere."""
        target, rest = (np.bincount(scores[truth == label], minlength=_SCORES) for label in (1, 0))
        return cls(target, rest)

    def __add__(self, other: Reliability) -> Reliability:
        return Reliability(self.target + other.target, self.rest + other.rest)

    @property
    def bins(self) -> list[tuple[float, float, int]]:
        """(mean probability, share of target, pixels) of each bin that has pixels, lowest first."""
        values = np.arange(_SCORES) / (_SCORES - 1)
        pixels = (self.target + self.rest).reshape(BINS, -1)
        hits = self.target.reshape(BINS, -1).sum(1)
        means = (pixels * values.reshape(BINS, -1)).sum(1)
        totals = pixels.sum(1)
        return [
            (float(mean / total), float(hit / total), int(total))
            for mean, hit, total in zip(means, hits, totals, strict=True)
            if total
        ]

    @property
    def expected_error(self) -> float:
        """Mean distance between probability and share of target over all pixels, by bins; NaN without pixels."""
        found = self.bins
        total = sum(pixels for _, _, pixels in found)
        if not total:
            return float("nan")
        return sum(abs(probability - share) * pixels for probability, share, pixels in found) / total
