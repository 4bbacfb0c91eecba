"""How much each source of evidence counts for a class: chosen by examples held out one by one.

The network, the ridge regression and the logistic rule are wrong in different places, and which of them is right
depends on the task. Each example is segmented by the others; the weights that draw the examples best are used. One
example has no other to be judged by: its two halves are too alike, so that it keeps the weights that are right on
average.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hdm_pipeline.model.pyramid.labels import FOREGROUND, IGNORED
from hdm_pipeline.model.pyramid.rules import Mix

MOST_FOLDS = 6
"""Examples that are held out at most."""

_PIXELS = 20_000  # of each held-out example, evenly spread
_STEPS = 80
_RATE = 0.05
_MOMENTA = (0.9, 0.999)
_RESTRAINT = 1.0  # on departures from the weights that are right on average; chosen on folders of real tasks
_OFFSET_STEP = 2.0  # so that restraint lets an offset of two weigh as much as a factor of e


@dataclass(frozen=True)
class HeldOut:
    """What the sources say of one held-out example, and what is true.

    Attributes:
        odds: [n, 3] log odds of network, ridge regression and logistic rule at n labelled pixels.
        target: [n] 1.0 where a pixel is the target, else 0.0.
    """

    odds: Tensor
    target: Tensor

    @classmethod
    def of(cls, network: Tensor, rules: Tensor, mask: Tensor) -> HeldOut:
        """Pick labelled pixels.

        Args:
            network: [H, W] logits.
            rules: [2, H, W] log odds of both rules.
            mask: [H, W] uint8 of 1, 0 and 255.
        """
        places = (mask.flatten() != IGNORED).nonzero()[:, 0]
        places = places[:: max(1, len(places) // _PIXELS)]
        sources = torch.cat((network[None], rules)).flatten(1)[:, places]
        # On the CPU: sums have a fixed order there, and what is fitted is a handful of numbers.
        return cls(sources.T.double().cpu(), (mask.flatten()[places] == FOREGROUND).double().cpu())


def choose_mix(held_out: Sequence[HeldOut], usual: Mix) -> Mix:
    """The mix of highest soft IoU over all held-out pixels, held near the usual one.

    Soft IoU counts probabilities instead of pixels, so that it has a slope. Deterministic.

    Args:
        held_out: examples segmented by the others; those without a target count too.
        usual: where to start, and what departures are measured from.
    """
    if not any(bool(example.target.any()) for example in held_out):
        return usual
    odds = torch.cat([example.odds for example in held_out])
    target = torch.cat([example.target for example in held_out])
    start = odds.new_tensor([usual.network, usual.ridge, usual.logistic])
    moved = torch.zeros(4, dtype=odds.dtype, requires_grad=True)
    first, second = torch.zeros_like(moved), torch.zeros_like(moved)
    with torch.enable_grad():
        for number in range(1, _STEPS + 1):
            chance = torch.sigmoid(odds @ (start * moved[:3].exp()) + usual.offset + _OFFSET_STEP * moved[3])
            both = (chance * target).sum()
            either = chance.sum() + target.sum() - both
            loss = _RESTRAINT * moved.square().sum() - torch.log((both + 1) / (either + 1))
            (slope,) = torch.autograd.grad(loss, moved)
            # Adam, by hand: the first use of torch.optim imports PyTorch's compiler, which takes two seconds.
            first, second = first.lerp(slope, 1 - _MOMENTA[0]), second.lerp(slope.square(), 1 - _MOMENTA[1])
            size = (second / (1 - _MOMENTA[1] ** number)).sqrt() + 1e-8
            moved = (moved - _RATE * first / (1 - _MOMENTA[0] ** number) / size).detach().requires_grad_()
    network, ridge, logistic = (start * moved.detach()[:3].exp()).tolist()
    return Mix(network, ridge, logistic, usual.offset + _OFFSET_STEP * float(moved.detach()[3]))
