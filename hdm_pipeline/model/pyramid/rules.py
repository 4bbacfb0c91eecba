"""What the frozen features say by themselves, and how much it counts beside the network.

Two linear rules are solved on the supports' frozen features: the ridge regression, right from one example on, and the
logistic one, better with several. Their log odds are added to the decoder's logits. How much each of the three counts
is a `Mix`: a fixed one, or one that held-out examples chose (`weighing`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add

import numpy as np
import torch
from torch import Tensor

from hdm_pipeline.model.bank import BankCache, SupportBank
from hdm_pipeline.model.pyramid import logistic
from hdm_pipeline.model.pyramid.encoding import Arrays
from hdm_pipeline.model.pyramid.layers import resize
from hdm_pipeline.model.pyramid.ridge import Moments, RidgeRegression, RidgeSolution

SCALE = "rules.scale"
"""The array of a bank that says how many times enlarged the frozen backbone sees an image for the rules."""

_COEFFICIENTS, _CALIBRATION, _LOGISTIC, _MIX = "rules.ridge", "rules.calibration", "rules.logistic", "rules.mix"
_ENLARGED_UP_TO = 352
_TENSORS: BankCache[tuple[Rules, Tensor]] = BankCache()


@dataclass(frozen=True)
class Mix:
    """How much each source counts.

    Attributes:
        network: factor on the decoder's logits.
        ridge: factor on the ridge regression's log odds.
        logistic: factor on the logistic rule's log odds.
        offset: added to the sum.
    """

    network: float
    ridge: float
    logistic: float
    offset: float = 0.0

    @classmethod
    def of_shots(cls, shots: int) -> Mix:
        """What is right on average for so many examples (docs/decisions/pretrained-backbone.md)."""
        return cls(1.0, 0.5, 0.25) if shots == 1 else cls(1.0, 0.25, 0.5)


@dataclass(frozen=True)
class RuleTokens:
    """One support's frozen features as the rules take them.

    Attributes:
        features: [N, D + 1], the last one constant 1.
        foreground: [N] share of target.
        background: [N] share of background.
    """

    features: Tensor
    foreground: Tensor
    background: Tensor

    @cached_property
    def moments(self) -> tuple[Moments, Moments]:
        """Of target and of background."""
        features = self.features[None]
        return Moments.of(features, self.foreground[None]), Moments.of(features, self.background[None])


@dataclass(frozen=True)
class Rules:
    """The solved rules of a class.

    Attributes:
        ridge: the regression, a batch of one.
        logistic: [D + 1] coefficients.
    """

    ridge: RidgeSolution
    logistic: Tensor

    @classmethod
    def of(cls, supports: Sequence[RuleTokens], regression: RidgeRegression, start: Tensor | None = None) -> Rules:
        """Solve both.

        Args:
            supports: at least one.
            regression: the ridge regression with its penalty.
            start: coefficients of a like logistic problem.
        """
        targets, others = (reduce(add, moments) for moments in zip(*(s.moments for s in supports), strict=True))
        coefficients = logistic.solve(
            torch.cat([s.features for s in supports]),
            torch.cat([s.foreground for s in supports]),
            torch.cat([s.background for s in supports]),
            start=start,
        )
        return cls(regression(targets, others), coefficients)

    def odds(self, features: Tensor) -> Tensor:
        """Log odds [B, 2, h, w] of both rules, ridge first, of features [B, D + 1, h, w]."""
        batch = len(features)
        one = self.ridge
        ridge = RidgeSolution(one.coefficients.expand(batch, -1), one.calibration.expand(batch, -1)).log_odds(features)
        return torch.stack((ridge, torch.einsum("bdhw,d->bhw", features, self.logistic)), dim=1)

    def arrays(self, mix: Mix, scale: int) -> Arrays:
        """As a bank keeps them."""
        found = {
            _COEFFICIENTS: self.ridge.coefficients[0],
            _CALIBRATION: self.ridge.calibration[0],
            _LOGISTIC: self.logistic,
        }
        arrays = {name: tensor.detach().float().cpu().numpy() for name, tensor in found.items()}
        arrays[_MIX] = np.array([mix.network, mix.ridge, mix.logistic, mix.offset], dtype=np.float32)
        arrays[SCALE] = np.array([scale], dtype=np.float32)
        return arrays


def rule_scale(masks: Sequence[Tensor]) -> int:
    """How many times enlarged the frozen backbone sees images for the rules: twice where all supports are small.

    Its stages are coarse; on a small image, twice the size makes up for it. On a large one it would cost four times
    as much as all the rest.
    """
    return 2 if max(max(mask.shape) for mask in masks) <= _ENLARGED_UP_TO else 1


def mixed(logits: Tensor, odds: Tensor, mix: Tensor) -> Tensor:
    """Logits of all sources together.

    Args:
        logits: [B, 1, H, W] of the decoder.
        odds: [B, 2, h, w] of the rules.
        mix: [4], `Mix` in the order of its fields.
    """
    direct = (odds * mix[1:3, None, None]).sum(1, keepdim=True)
    return mix[0] * logits + resize(direct, (logits.shape[-2], logits.shape[-1])) + mix[3]


def with_mix(bank: SupportBank, other: SupportBank) -> SupportBank:
    """A bank with the mix of another one; a bank without rules as it is."""
    if _MIX not in bank.arrays:
        return bank
    return dataclasses.replace(bank, arrays={**bank.arrays, _MIX: other.arrays[_MIX]})


def read_rules(bank: SupportBank, device: torch.device) -> tuple[Rules, Tensor]:
    """Rules and mix [4] of a bank; made once for as long as the bank lives."""

    def read() -> tuple[Rules, Tensor]:
        solution = RidgeSolution(bank.tensor(_COEFFICIENTS, device)[None], bank.tensor(_CALIBRATION, device)[None])
        return Rules(solution, bank.tensor(_LOGISTIC, device)), bank.tensor(_MIX, device)

    return _TENSORS.get(bank, ("rules", device), read)
