"""Closed-form evidence: a ridge regression from features to the labels of the supports.

Cosine matching knows which support pixels a query pixel resembles; a regression also learns which features tell the
target from the rest of *these* supports. It is solved in closed form inside the network and is differentiable, so the
features are trained to be regressed upon (Bertinetto et al., "Meta-learning with differentiable closed-form solvers",
ICLR 2019). All it needs of the supports are two moment matrices, so its cost at query time is one dot product a
position for any number of shots.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

CHANNELS = 3
"""Evidence maps that `RidgeSolution.evidence` returns."""

_TINY = 1e-6


@dataclass(frozen=True)
class Moments:
    """Weighted sums over support tokens of one class; they add over supports.

    Attributes:
        weight: [B] total weight, in tokens.
        first: [B, D] sum of weight * feature.
        second: [B, D, D] sum of weight * feature * feature^T.
    """

    weight: Tensor
    first: Tensor
    second: Tensor

    @classmethod
    def of(cls, features: Tensor, weights: Tensor) -> Moments:
        """Moments of tokens [B, N, D] with weights [B, N] in [0, 1]."""
        weighted = features * weights.unsqueeze(-1)
        return cls(weights.sum(1), weighted.sum(1), weighted.transpose(1, 2) @ features)

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.weight + other.weight, self.first + other.first, self.second + other.second)

    def combine(self, roles: Tensor, count: int) -> Moments:
        """Sums over images that are laid out slot by slot.

        Args:
            roles: [turns, slots] of 0 and 1: which slots belong together.
            count: images in a slot.

        Returns:
            Moments of turns * `count` sums, turn by turn.
        """
        slots = roles.shape[1]

        def mix(part: Tensor) -> Tensor:
            stacked = part.reshape(slots, -1)
            return (roles @ stacked).reshape(roles.shape[0] * count, *part.shape[1:])

        return Moments(mix(self.weight), mix(self.first), mix(self.second))

    def normalized(self) -> Moments:
        """The same with total weight 1 (or 0 where there is no token at all)."""
        scale = 1.0 / self.weight.clamp_min(_TINY)
        present = (self.weight > _TINY).to(self.first.dtype)
        scale = scale * present
        return Moments(present, self.first * scale[:, None], self.second * scale[:, None, None])


@dataclass(frozen=True)
class RidgeSolution:
    """A linear score and what it means.

    Attributes:
        coefficients: [B, D] of the features.
        calibration: [B, 3] offset and slope that turn the score into a log likelihood ratio, and the log prior odds.
    """

    coefficients: Tensor
    calibration: Tensor

    def evidence(self, features: Tensor) -> Tensor:
        """Maps [B, 3, H, W] of features [B, D, H, W]: score, calibrated log odds / 4, prior log odds / 4.

        The score is about +1 on target and -1 on background; the log odds are softly limited to +-8.
        """
        score = self._score(features)
        prior = self.calibration[:, 2, None, None]
        maps = torch.stack((score, self._odds(score) / 4.0, (prior / 4.0).expand_as(score)), dim=-1)
        return maps.permute(0, 3, 1, 2)  # in the memory order that convolutions want

    def log_odds(self, features: Tensor) -> Tensor:
        """Calibrated log odds [B, H, W] of features [B, D, H, W], softly limited to +-8."""
        return self._odds(self._score(features))

    def _score(self, features: Tensor) -> Tensor:
        return torch.einsum("bdhw,bd->bhw", features, self.coefficients)

    def _odds(self, score: Tensor) -> Tensor:
        offset, slope = (self.calibration[:, i, None, None] for i in range(2))
        return 8.0 * torch.tanh((score - offset) * slope / 8.0)


class RidgeRegression(nn.Module):
    """Class-balanced ridge regression with a learned penalty.

    The penalty is exp(a + b * log(tokens of the rarer class)): few labelled tokens may ask for a stronger one.

    Args:
        log_penalty: where a starts.
    """

    def __init__(self, log_penalty: float = -2.0) -> None:
        super().__init__()
        self.log_penalty = nn.Parameter(torch.tensor(log_penalty))
        self.log_penalty_slope = nn.Parameter(torch.tensor(-0.1))

    def forward(self, foreground: Moments, background: Moments, *, shares: Tensor | None = None) -> RidgeSolution:
        """Solve for both classes' moments, float32.

        Args:
            foreground, background: of the labelled tokens.
            shares: [2] tokens of target and of background from which the prior odds are taken, or None for those of the
                moments. All zero makes the odds even.
        """
        tokens = torch.minimum(foreground.weight, background.weight).clamp_min(0.1)
        penalty = torch.exp(self.log_penalty + self.log_penalty_slope * tokens.log()).clamp(1e-3, 1e3)
        weights = (foreground.weight, background.weight) if shares is None else shares[:, None].unbind()
        prior = (weights[0].clamp_min(0.1) / weights[1].clamp_min(0.1)).log()
        fg, bg = foreground.normalized(), background.normalized()
        width = fg.first.shape[-1]
        eye = torch.eye(width, dtype=fg.first.dtype, device=fg.first.device)
        gram = 0.5 * (fg.second + bg.second) + penalty[:, None, None] * eye
        right = 0.5 * (fg.first - bg.first)
        coefficients: Tensor = _Solve.apply(gram, right)  # type: ignore[no-untyped-call]
        return RidgeSolution(coefficients, self._calibration(coefficients, fg, bg, prior))

    @staticmethod
    def _calibration(coefficients: Tensor, fg: Moments, bg: Moments, prior: Tensor) -> Tensor:
        """Two Gaussians of one variance over the support's own scores give the log likelihood ratio."""
        mean_fg, mean_bg = (torch.einsum("bd,bd->b", m.first, coefficients) for m in (fg, bg))
        square_fg, square_bg = (torch.einsum("bd,bde,be->b", coefficients, m.second, coefficients) for m in (fg, bg))
        variance = 0.5 * (square_fg - mean_fg**2 + square_bg - mean_bg**2)
        slope = (mean_fg - mean_bg) / variance.clamp_min(0.02)
        return torch.stack((0.5 * (mean_fg + mean_bg), slope, prior), dim=1)


class _Solve(torch.autograd.Function):
    """x of A x = b, A [B, D, D] symmetric and positive definite, b [B, D].

    PyTorch would go back through the Cholesky factor, at several products of D x D matrices. The gradient of the
    solution needs the factor once more and an outer product: db = A^-1 dx, dA = -db x^T.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, right: Tensor) -> Tensor:
        """Solve."""
        factor = torch.linalg.cholesky(matrix)
        solution = torch.cholesky_solve(right.unsqueeze(-1), factor).squeeze(-1)
        ctx.save_for_backward(factor, solution)
        return solution

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients by A, made symmetric as A is, and by b."""
        factor, solution = ctx.saved_tensors
        right = torch.cholesky_solve(gradient.unsqueeze(-1), factor).squeeze(-1)
        outer = right.unsqueeze(-1) * solution.unsqueeze(-2)
        return -0.5 * (outer + outer.transpose(-2, -1)), right
