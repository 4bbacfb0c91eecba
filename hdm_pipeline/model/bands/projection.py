"""N bands to the three channels that a backbone of color pictures sees, fitted to the labelled examples.

One projection serves all classes of a pipeline, so that one pass of the backbone does. The first channel (with several
classes the first two) is the direction that best tells target from background: Fisher's linear discriminant, with the
scatter within the sides shrunken towards the identity. Principal components of what that leaves give the others. Every
channel is brought to the mean and the spread that photographs have (docs/decisions/many-bands.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hdm_pipeline.model.bands.examples import BACKGROUND, TARGET, BandExample

CHANNELS = 3
MEAN = 0.45
STD = 0.225
"""Mean and standard deviation of a channel over photographs, in 0..1 (about those of ImageNet)."""

_SHRINKAGE = 0.1
_DISCRIMINANTS = 2
_FULL_DEVIATION = 0.3  # along a component, in units of the bands' own: from there on it has a channel to itself
_LEAST_SPREAD = 1e-4  # of a band in 0..1
_LEAST_VARIANCE = 1e-4  # of a channel, in units of the bands' own: noise is not blown up beyond that


@dataclass(frozen=True, eq=False)
class BandProjection:
    """channel = matrix @ bands + offset, clipped to 0..1.

    Attributes:
        matrix: [3, N] float32.
        offset: [3] float32.
    """

    matrix: npt.NDArray[np.float32]
    offset: npt.NDArray[np.float32]

    @property
    def bands(self) -> int:
        """Number of bands."""
        return int(self.matrix.shape[1])

    def equals(self, other: BandProjection) -> bool:
        """Whether both give the same channels."""
        return np.array_equal(self.matrix, other.matrix) and np.array_equal(self.offset, other.offset)

    def apply(self, bands: Tensor) -> Tensor:
        """[B, N, H, W] in 0..1 to [B, 3, H, W] in 0..1."""
        matrix, offset = (torch.from_numpy(np.array(part)).to(bands.device) for part in (self.matrix, self.offset))
        mixed = torch.einsum("cn,bnhw->bchw", matrix, bands) + offset[:, None, None]
        return mixed.clamp_(0.0, 1.0)

    @classmethod
    def fit(cls, classes: Sequence[Sequence[BandExample]]) -> BandProjection:
        """Fit to the examples of all classes, in closed form; the same examples give the same projection.

        Args:
            classes: the examples of each class, all of one number of bands, at least one labelled pixel among them.
        """
        scatter = _Scatter.of(classes)
        telling = scatter.discriminants()
        directions, rest = list(telling), scatter.total
        for direction in telling:
            rest = _without(rest, direction)
        while len(directions) < CHANNELS:
            directions.append(torch.linalg.eigh(rest)[1][:, -1])
            rest = _without(rest, directions[-1])
        basis = _scaled(torch.stack([_signed(direction) for direction in directions]), scatter.total)
        basis = torch.cat((basis[: len(telling)], _filled(basis[len(telling) :], scatter.total)))
        matrix = STD * basis / scatter.spread
        offset = MEAN - matrix @ scatter.center
        return cls(matrix.float().numpy(), offset.float().numpy())


@dataclass(frozen=True)
class _Scatter:
    """Second-order statistics of the labelled pixels; every side of every class counts alike.

    Attributes:
        center: [N] mean of the bands.
        spread: [N] standard deviation of the bands; what follows is in units of it.
        within: [N, N] covariance within a side.
        total: [N, N] covariance.
        apart: [classes, N] half of what target and background differ by, of classes that show both.
    """

    center: Tensor
    spread: Tensor
    within: Tensor
    total: Tensor
    apart: Tensor

    @classmethod
    def of(cls, classes: Sequence[Sequence[BandExample]]) -> _Scatter:
        sides = [(_rows(examples, BACKGROUND), _rows(examples, TARGET)) for examples in classes]
        shown = [rows for pair in sides for rows in pair if len(rows)]
        means = torch.stack([rows.mean(0) for rows in shown])
        center = means.mean(0)
        within = torch.stack([_covariance(rows) for rows in shown]).mean(0)
        between = (means - center).T @ (means - center) / len(means)
        spread = (within + between).diagonal().sqrt().clamp_min(_LEAST_SPREAD)
        unit = spread * spread[:, None]
        both = [0.5 * (high.mean(0) - low.mean(0)) / spread for low, high in sides if len(low) and len(high)]
        apart = torch.stack(both) if both else center.new_zeros(0, len(center))
        return cls(center, spread, within / unit, (within + between) / unit, apart)

    def discriminants(self) -> list[Tensor]:
        """Directions [N] of unit length that tell targets from backgrounds, the best first; none where no side is."""
        if not len(self.apart):
            return []
        eye = torch.eye(len(self.within), dtype=self.within.dtype)
        level = self.within.diagonal().mean().clamp_min(_LEAST_VARIANCE)
        root = torch.linalg.cholesky((1 - _SHRINKAGE) * self.within + _SHRINKAGE * level * eye)
        left, sizes, _ = torch.linalg.svd(torch.linalg.solve_triangular(root, self.apart.T, upper=False), False)
        count = min(_DISCRIMINANTS, int((sizes > 1e-3 * sizes[0].clamp_min(_LEAST_VARIANCE)).sum()))
        found = torch.linalg.solve_triangular(root.T, left[:, :count], upper=True)
        return list((found / found.norm(dim=0)).T)


def _rows(examples: Sequence[BandExample], label: int) -> Tensor:
    """[n, N] float64: the sampled pixels of a label."""
    return torch.cat([example.bands.flatten(1)[:, example.places(label)].T for example in examples]).double()


def _covariance(rows: Tensor) -> Tensor:
    centered = rows - rows.mean(0)
    return centered.T @ centered / len(rows)


def _without(covariance: Tensor, direction: Tensor) -> Tensor:
    """The covariance of what is uncorrelated with a direction."""
    image = covariance @ direction
    return covariance - torch.outer(image, image) / (direction @ image).clamp_min(1e-12)


def _scaled(basis: Tensor, total: Tensor) -> Tensor:
    """Directions [n, N] of unit length scaled to a variance of 1, as far as that does not blow up noise."""
    variance = torch.einsum("ci,ij,cj->c", basis, total, basis).clamp_min(_LEAST_VARIANCE)
    return basis / variance.sqrt()[:, None]


def _filled(basis: Tensor, total: Tensor) -> Tensor:
    """Directions [n, N] of variance 1; one along which the bands hardly vary becomes mostly brightness.

    Pictures have much brightness and little color. Where bands repeat each other, what is left beside their common
    part is noise, and a channel of noise at full contrast is nothing that a backbone has ever seen.
    """
    brightness = _scaled(_signed(torch.linalg.eigh(total)[1][:, -1])[None], total)
    share = (1.0 / basis.norm(dim=1) / _FULL_DEVIATION).clamp(max=1.0)[:, None]
    against = (basis @ total @ brightness[0] < 0)[:, None] & (share < 1)
    mixed = torch.where(against, -basis, basis) * share + (1 - share.square()).sqrt() * brightness
    variance = torch.einsum("ci,ij,cj->c", mixed, total, mixed).clamp_min(_LEAST_VARIANCE)
    return torch.where(share < 1, mixed / variance.sqrt()[:, None], basis)


def _signed(direction: Tensor) -> Tensor:
    """The direction or its opposite: the one whose largest component is positive."""
    return direction * torch.sign(direction[direction.abs().argmax()])
