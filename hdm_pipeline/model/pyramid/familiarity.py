"""How far a query lies from the supports, and how much the supports disagree about it: what a score cannot say.

A network answers for every picture, also for one that its supports have nothing to do with. Two things tell, both from
features that the query's pass computes anyway:

* **Distance**, on cells of 16 pixels: one minus the cosine to the nearest of a few prototypes of all labelled pixels,
  target and background. What is near and what is far, the supports themselves say: each one's distances to the others'
  prototypes are measured, or those of the two halves of a single support, and their median and 95th percentile kept.
* **Spread**: the coarsest regression is solved again without each of the supports in turn (closed form, from moments
  that are there). Where the solutions differ, the answer hangs on one support. With one support, two rules on the same
  features are compared instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from hdm_pipeline.model.bank import BankCache, SupportBank
from hdm_pipeline.model.pyramid.encoding import unit
from hdm_pipeline.model.pyramid.prototypes import condense
from hdm_pipeline.model.pyramid.ridge import Moments, RidgeRegression, RidgeSolution

CELL = 16
"""Side in pixels of the cells that are compared."""

_PREFIX = "familiar."
_PROTOTYPES = 32
_CANDIDATES = 768  # cells of a support that prototypes are chosen from
_FOLDS = 8  # supports that are left out in turn; of more, every n-th goes together
_LEAST_CELLS = 8  # on either side of a comparison
_FAR = 0.95  # the share of the supports' own cells that counts as near
_HALF_SLACK = 0.5  # one support: halves of an image are more alike than two images are
_LEAST_SCALE = 1e-4

LEAST_FAR = 0.08
"""Distance below which nothing is far, over the own backbone; and over pretrained features. Examples that are all but
copies of each other would otherwise make every other scene far (docs/scores.md has the measurement)."""

LEAST_FAR_PRETRAINED = 0.5

Arrays = dict[str, npt.NDArray[np.float32]]
T = TypeVar("T")

_TENSORS: BankCache[dict[str, Tensor]] = BankCache()


@dataclass(frozen=True)
class _Support:
    """Cells [n, C] of unit length, and the moments of target and background at the regression's level."""

    cells: Tensor
    foreground: Moments
    background: Moments


class SupportsCompared:
    """Collects what the supports look like, one at a time, and compares them with each other.

    Args:
        least_far: distance below which nothing counts as far, however alike the supports are.
    """

    def __init__(self, least_far: float = LEAST_FAR) -> None:
        self._least_far = least_far
        self._supports: list[_Support] = []

    def add(self, context: Tensor, regress: Tensor, shares: tuple[Tensor, Tensor], stride: int) -> None:
        """Add a support.

        Args:
            context: [1, C, h, w] features at a stride.
            regress: [1, D, h, w] regression features at the same stride.
            shares: [1, h, w] of target and of background in each cell.
            stride: in pixels, at most `CELL`.
        """
        foreground, background = shares
        tokens = regress.flatten(2).transpose(1, 2)
        labelled = pooled((foreground + background)[:, None], stride)[0, 0].flatten()
        chosen = (labelled > min(0.5, float(labelled.max()) / 2)).nonzero()[:, 0]
        if len(chosen) > _CANDIDATES:
            chosen = chosen[torch.linspace(0, len(chosen) - 1, _CANDIDATES, device=chosen.device).round().long()]
        cells = unit(pooled(context, stride)[0].flatten(1).T)[chosen]
        self._supports.append(
            _Support(cells, Moments.of(tokens, foreground.flatten(1)), Moments.of(tokens, background.flatten(1)))
        )

    def arrays(self, regression: RidgeRegression) -> Arrays:
        """What a bank keeps; empty where the supports show too little to be compared."""
        shown = [support.cells for support in self._supports if len(support.cells)]
        apart = _distances_apart(shown)
        if not len(apart):
            return {}
        typical, far = (float(torch.quantile(apart, share)) for share in (0.5, _FAR))
        if len(shown) == 1:
            far += _HALF_SLACK * (far - typical)
        far = max(far, self._least_far)
        found = {"prototypes": condense(torch.cat(shown), _PROTOTYPES)}
        found["scale"] = torch.tensor([typical, max(far - typical, _LEAST_SCALE)])
        found |= self._without_each(regression)
        return {_PREFIX + name: tensor.detach().float().cpu().numpy() for name, tensor in found.items()}

    def _without_each(self, regression: RidgeRegression) -> dict[str, Tensor]:
        """The regressions that lack a support each; empty where there are not two that show the target."""
        solutions = []
        for kept, _ in _divided(self._supports):
            if len(kept) < len(self._supports) and any(bool(each.foreground.weight > 0) for each in kept):
                foreground, background = kept[0].foreground, kept[0].background
                for each in kept[1:]:
                    foreground, background = foreground + each.foreground, background + each.background
                solutions.append(regression(foreground, background))
        if len(solutions) < 2:
            return {}
        return {
            "coefficients": torch.cat([solution.coefficients for solution in solutions]),
            "calibration": torch.cat([solution.calibration for solution in solutions]),
        }


def known(bank: SupportBank) -> bool:
    """Whether a bank can tell near from far."""
    return f"{_PREFIX}prototypes" in bank.arrays


def distance(context: Tensor, stride: int, banks: Sequence[SupportBank]) -> Tensor:
    """How far each cell lies from each class's supports.

    Args:
        context: [B, C, h, w] features of tiles, of the level that the supports were described by.
        stride: its stride.
        banks: one a class.

    Returns:
        [B, len(banks), H / 16, W / 16] in [0, 1]: 0 as near as half of the supports' own cells or nearer, 0.5 as far as
        the farthest twentieth of them begins, 1 twice as far; 0 for a bank that cannot tell.
    """
    cells = F.normalize(pooled(context, stride).float(), dim=1)
    maps = []
    for bank in banks:
        arrays = _tensors(bank, cells.device)
        if "prototypes" not in arrays:
            maps.append(cells.new_zeros(len(cells), *cells.shape[-2:]))
            continue
        nearest = torch.einsum("bchw,pc->bphw", cells, arrays["prototypes"]).amax(1)
        typical, scale = arrays["scale"]
        maps.append(((1.0 - nearest - typical) / (2.0 * scale)).clamp(0.0, 1.0))
    return torch.stack(maps, 1)


def variance(regress: Tensor, bank: SupportBank, rules: Tensor | None) -> Tensor:
    """How far the log odds of a class may be off, as different ways to learn from its supports disagree about them.

    With several supports that is the jackknife's variance of the regression that lacks each of them in turn; with one,
    the variance between the two rules on the frozen features.

    Args:
        regress: [B, D, h, w] regression features of tiles, of the level that the supports were described by.
        bank: of the class.
        rules: [B, 2, h', w'] log odds of the two rules, or None without them.

    Returns:
        [B, 1, h, w] or [B, 1, h', w'], at least 0; 0 where nothing can be told.
    """
    arrays = _tensors(bank, regress.device)
    if "coefficients" in arrays:
        odds = torch.stack(
            [
                RidgeSolution(coefficients[None], calibration[None]).log_odds(regress)
                for coefficients, calibration in zip(arrays["coefficients"], arrays["calibration"], strict=True)
            ],
            dim=1,
        )
        return (len(arrays["coefficients"]) - 1) * odds.var(1, correction=0, keepdim=True)
    return torch.zeros_like(regress[:, :1]) if rules is None else rules.var(1, correction=0, keepdim=True)


def pooled(x: Tensor, stride: int) -> Tensor:
    """[B, C, h, w] at a stride as means of `CELL` pixels a side."""
    side = CELL // stride
    return x if side == 1 else F.avg_pool2d(x, side)


def _distances_apart(supports: Sequence[Tensor]) -> Tensor:
    """Distances of the supports' cells to prototypes of what they are not part of; empty where that cannot be told."""
    if len(supports) == 1:
        middle = len(supports[0]) // 2
        pairs = [(supports[0][:middle], supports[0][middle:]), (supports[0][middle:], supports[0][:middle])]
    else:
        pairs = [(torch.cat(kept), torch.cat(tested)) for kept, tested in _divided(supports)]
    found = [
        1.0 - (tested @ condense(kept, _PROTOTYPES).T).amax(1)
        for kept, tested in pairs
        if min(len(kept), len(tested)) >= _LEAST_CELLS
    ]
    return torch.cat(found) if found else torch.empty(0)


def _divided(supports: Sequence[T]) -> list[tuple[list[T], list[T]]]:
    """(kept, left out) of at most `_FOLDS` divisions."""
    count = min(_FOLDS, len(supports))
    numbered = list(enumerate(supports))
    return [
        ([s for i, s in numbered if i % count != part], [s for i, s in numbered if i % count == part])
        for part in range(count)
    ]


def _tensors(bank: SupportBank, device: torch.device) -> dict[str, Tensor]:
    """What a bank keeps, made tensors once for as long as it lives."""

    def make() -> dict[str, Tensor]:
        names = [name for name in bank.arrays if name.startswith(_PREFIX)]
        return {name.removeprefix(_PREFIX): bank.tensor(name, device) for name in names}

    return _TENSORS.get(bank, device, make)
