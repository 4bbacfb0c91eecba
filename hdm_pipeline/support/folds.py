"""Divisions of a few labelled examples into those that are learned from and those that are measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hdm_pipeline.model.partial_labels import has_both, partly_labelled


@dataclass(frozen=True)
class Fold:
    """A division of the examples.

    Attributes:
        kept: indices of the examples to learn from.
        kept_masks: their masks.
        tested: indices of the examples to measure on.
        truths: their masks; 255 outside what is measured.
    """

    kept: tuple[int, ...]
    kept_masks: tuple[Tensor, ...]
    tested: tuple[int, ...]
    truths: tuple[Tensor, ...]


def folds(masks: Sequence[Tensor], count: int) -> list[Fold]:
    """Divide K examples into at most `count` parts, each measured on once; one example is cut in two (`halves`).

    A part whose remaining examples show no target, or no background, is left out: nothing could be learned there.
    """
    if len(masks) == 1:
        return halves(masks[0])
    count = min(count, len(masks))
    divided = []
    for part in range(count):
        tested = tuple(range(part, len(masks), count))
        kept = tuple(i for i in range(len(masks)) if i not in tested)
        if has_both([masks[i] for i in kept]):
            divided.append(Fold(kept, tuple(masks[i] for i in kept), tested, tuple(masks[i] for i in tested)))
    return divided


def halves(mask: Tensor) -> list[Fold]:
    """Two folds of one example: its target is cut in equal parts across its longer extent.

    The image stays whole; the labels of one side are ignored in turn. Of a partly labelled example, the background's
    labels are cut in equal parts as well: they need not lie around the target. Empty where one side would show no
    target; a side that shows no background is not learned from.
    """
    places = (mask == 1).nonzero()
    if not len(places):
        return []
    axis = int((places.amax(0) - places.amin(0)).argmax())
    middle = torch.full_like(mask, int(places[:, axis].median()), dtype=torch.long)
    if partly_labelled(mask) and len(others := (mask == 0).nonzero()):
        middle[mask == 0] = int(others[:, axis].median())
    position = torch.arange(mask.shape[axis], device=mask.device).view((-1, 1) if axis == 0 else (1, -1))
    first = position <= middle
    ignored = torch.full_like(mask, 255)
    sides = (torch.where(first, mask, ignored), torch.where(first, ignored, mask))
    if not all(bool((side == 1).any()) for side in sides):
        return []
    return [Fold((0,), (kept,), (0,), (tested,)) for kept, tested in (sides, sides[::-1]) if has_both([kept])]
