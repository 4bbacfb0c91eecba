"""From what makes an answer doubtful to one number a pixel (docs/scores.md)."""

from __future__ import annotations

import math

from torch import Tensor

_FAR_DEVIATION = 2.0
_LEAST_PROBABILITY = 1e-6  # nearer to 0 and 1 float32 does not tell log odds


def trust(variance: Tensor, distance: Tensor) -> Tensor:
    """What log odds are multiplied by so that they are as sure as they may be: in (0, 1].

    The mean of sigmoid(x) over a normal x of variance v is about sigmoid(mean / sqrt(1 + pi v / 8)) (MacKay, "The
    evidence framework applied to classification networks", Neural Computation 1992).

    Args:
        variance: of the log odds, at least 0.
        distance: to the examples, 0..1 (`FewShotNetwork.examine`); 1 counts as a standard deviation of two.
    """
    return (1.0 + math.pi / 8.0 * (variance + (_FAR_DEVIATION * distance).square())).rsqrt()


def uncertainty(probability: Tensor, trust: Tensor) -> Tensor:
    """In [0, 1]: 0 where an answer is sure, 1 where it is even, once its log odds are multiplied by `trust`.

    With a trust of 1 that is the plain margin, 1 - |2 p - 1|.
    """
    odds = probability.clamp(_LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY).logit()
    return 1.0 - (2.0 * (odds * trust).sigmoid() - 1.0).abs()
