"""A logistic rule on frozen features: what a ridge regression becomes when it looks at the border of the classes.

The ridge regression is right from one example on, because two means and a spread are all it needs. With five examples
there are enough pixels near the border to learn from them alone; a logistic rule does, and finds more
(docs/decisions/pretrained-backbone.md). It is solved once, when supports are encoded, and costs a query one more dot
product a position.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hdm_pipeline.model.pyramid.prototypes import systematic_index

PENALTY = 0.03
"""How much half the square of the coefficients counts against the mean loss of a token; the constant is free."""

_MOST_TOKENS = 2048  # of each class, over all supports; neighbouring positions hardly differ
_STEPS = 10
_STILL = 1e-2  # logits that change by less are as good as solved
_LEAST_CURVATURE = 1e-6


def solve(
    features: Tensor, foreground: Tensor, background: Tensor, *, start: Tensor | None = None, penalty: float = PENALTY
) -> Tensor:
    """Coefficients of class-balanced logistic regression, by Newton's method.

    Args:
        features: [N, D] of labelled positions, the last feature constant 1.
        foreground: [N] share of target of each position, in [0, 1].
        background: [N] share of background; positions may have neither.
        start: [D] coefficients of a like problem: fewer steps lead from there.
        penalty: on all coefficients but the last.

    Returns:
        [D] coefficients; zeros where a class has no position.
    """
    width = features.shape[1]
    coefficients = features.new_zeros(width)
    if not bool((foreground > 0).any()) or not bool((background > 0).any()):
        return coefficients
    if start is not None:
        coefficients = start
    tokens, targets, others = _thinned(features, foreground, background)
    penalties = features.new_full((width,), penalty)
    penalties[-1] = _LEAST_CURVATURE
    weights = targets + others
    for _ in range(_STEPS):
        chance = torch.sigmoid(tokens @ coefficients)
        gradient = tokens.T @ (chance * weights - targets) + penalties * coefficients
        curvature = (weights * chance * (1 - chance)).clamp_min(_LEAST_CURVATURE)
        hessian = (tokens * curvature[:, None]).T @ tokens + torch.diag(penalties)
        step = torch.cholesky_solve(gradient[:, None], torch.linalg.cholesky(hessian))[:, 0]
        coefficients = coefficients - step
        if float((tokens @ step).abs().max()) < _STILL:
            break
    return coefficients


def _thinned(features: Tensor, foreground: Tensor, background: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """At most `_MOST_TOKENS` of each class, with weights that sum to one half for each class."""
    kept = [systematic_index(share[None], _MOST_TOKENS)[0] for share in (foreground, background)]
    few = [int((share > 0).sum()) <= _MOST_TOKENS for share in (foreground, background)]
    tokens, targets, others = [], [], []
    for share, index, whole, own in zip((foreground, background), kept, few, (True, False), strict=True):
        rows, weights = ((share > 0).nonzero()[:, 0], share) if whole else (index, torch.ones_like(share))
        found = weights[rows] / weights[rows].sum()
        tokens.append(features[rows])
        targets.append(0.5 * found if own else torch.zeros_like(found))
        others.append(torch.zeros_like(found) if own else 0.5 * found)
    return torch.cat(tokens), torch.cat(targets), torch.cat(others)
