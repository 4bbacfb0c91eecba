"""Examples that are labelled in part: points, strokes, a few polygons; everything else of them is unknown (255).

Who labels a few pixels chooses them. How many they gave to each side says nothing about how large the target is, and a
part of them proves less than a part of a mask. What follows from that is decided here, by one rule: an example is
partly labelled if fewer than a quarter of its pixels have a label (docs/decisions/partial-labels.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

IGNORE = 255
PARTLY = 0.25
"""Share of labelled pixels below which an example counts as partly labelled."""

TOO_UNSURE = 0.1
"""Standard error of a held-out IoU from which on it decides nothing: fewer than 25 labelled pixels of the target."""

LEAST_TARGET = round((0.5 / TOO_UNSURE) ** 2)
"""The same as a number of labelled pixels of the target (`sampling_error`)."""


def partly_labelled(mask: Tensor) -> bool:
    """Whether a mask of 1, 0 and 255 labels less than a quarter of its pixels."""
    return int((mask != IGNORE).sum()) < PARTLY * mask.numel()


def has_both(masks: Sequence[Tensor]) -> bool:
    """Whether masks [H, W] show target and background, all together."""
    return all(any(bool((mask == value).any()) for mask in masks) for value in (0, 1))


def keep_labels(mask: Tensor, small: Tensor) -> Tensor:
    """A reduced mask in which no label is lost among unknown pixels.

    Where a pixel of the reduced mask would be unknown, but labelled pixels lie in it, it gets their label: that of the
    majority, and of the target where there are as many of both.

    Args:
        mask: [H, W] uint8 of 1, 0 and 255.
        small: [h, w] uint8, the mask reduced by taking nearest pixels.
    """
    places = (mask != IGNORE).nonzero()
    if not len(places):
        return small
    # Each labelled pixel lies in exactly one pixel of the reduced mask: it is not counted twice.
    sizes = zip(places.unbind(1), mask.shape, small.shape, strict=True)
    rows, columns = (((2 * place + 1) * after).div(2 * before, rounding_mode="floor") for place, before, after in sizes)
    cells = rows * small.shape[1] + columns
    labels = mask[places[:, 0], places[:, 1]].long()
    found = torch.bincount(2 * cells + labels, minlength=2 * small.numel()).view(*small.shape, 2)
    label = (found[..., 1] >= found[..., 0]).to(small.dtype)
    return torch.where((small == IGNORE) & (found.sum(-1) > 0), label, small)


def sampling_error(masks: Sequence[Tensor]) -> float:
    """How far an IoU that is measured on these masks may be off for lack of labels: half of 1 / sqrt(target pixels).

    That is the standard error of a share of one half among so many independent pixels. 0 if any example is labelled
    throughout: its pixels are many, and a gain on it is a gain.
    """
    if not masks or not all(partly_labelled(mask) for mask in masks):
        return 0.0
    return 0.5 / math.sqrt(max(1, sum(int((mask == 1).sum()) for mask in masks)))
