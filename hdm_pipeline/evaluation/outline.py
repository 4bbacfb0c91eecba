"""Boundary F1: how much of the outlines of prediction and truth lies within a few pixels of the other's.

Csurka et al., "What is a good evaluation measure for semantic segmentation?", BMVC 2013. IoU hardly notices the edge of
a large area; this does not notice anything else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

TOLERANCE = 2
"""Pixels that two outlines may lie apart."""


@dataclass(frozen=True)
class OutlineCounts:
    """Outline pixels of one or several episodes.

    Attributes:
        drawn: of the prediction.
        drawn_near: those of them near the truth's outline.
        true: of the truth.
        true_near: those of them near the prediction's outline.
    """

    drawn: int = 0
    drawn_near: int = 0
    true: int = 0
    true_near: int = 0

    def __add__(self, other: OutlineCounts) -> OutlineCounts:
        return OutlineCounts(
            self.drawn + other.drawn,
            self.drawn_near + other.drawn_near,
            self.true + other.true,
            self.true_near + other.true_near,
        )

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall of the outline; NaN where neither has one."""
        if not self.drawn and not self.true:
            return float("nan")
        precision = self.drawn_near / self.drawn if self.drawn else 0.0
        recall = self.true_near / self.true if self.true else 0.0
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def count_outlines(
    prediction: npt.NDArray[np.bool_], truth: npt.NDArray[np.uint8], tolerance: int = TOLERANCE
) -> OutlineCounts:
    """Compare outlines of a prediction [y, x] and of a truth [y, x] of 1, 0 and 255.

    Where the truth is unknown nothing is compared, and the edge of what is unknown is no outline.
    """
    known = truth != 255
    drawn, true = (_outline(mask, known) for mask in (prediction & known, truth == 1))
    return OutlineCounts(
        int(drawn.sum()),
        int((drawn & _within(true, tolerance)).sum()),
        int(true.sum()),
        int((true & _within(drawn, tolerance)).sum()),
    )


def _outline(mask: npt.NDArray[np.bool_], known: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Pixels of the mask with a known neighbour outside of it; the image's edge is no outline."""
    outside = known & ~mask
    found: npt.NDArray[np.bool_] = mask & ndimage.binary_dilation(outside)
    return found


def _within(outline: npt.NDArray[np.bool_], tolerance: int) -> npt.NDArray[np.bool_]:
    """Pixels at most `tolerance` away from the outline."""
    if not outline.any():
        return outline
    found: npt.NDArray[np.bool_] = ndimage.distance_transform_edt(~outline) <= tolerance
    return found
