"""Divisions of a few labelled examples into those that are learned from and those that are measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from hdm_pipeline.model.halves import halves
from hdm_pipeline.model.partial_labels import has_both


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


def target_first(masks: Sequence[Tensor], most: int) -> list[int]:
    """Indices of at most so many examples that measuring asks, in their order: those with target before the others."""
    shown = sorted(range(len(masks)), key=lambda i: not bool((masks[i] == 1).any()))
    return sorted(shown[:most])


def folds(masks: Sequence[Tensor], count: int) -> list[Fold]:
    """Divide K examples into at most `count` parts, each measured on once; one example is cut in two.

    An example that shows background only is learned from in each part and measured on in none: a single pixel that is
    wrongly called target would make its IoU 0. A part whose remaining examples show no target, or no background, is
    left out: nothing could be learned there.
    """
    shown = [i for i, mask in enumerate(masks) if bool((mask == 1).any())]
    if len(shown) == 1:
        return half_folds(masks, shown[0])
    count = min(count, len(shown))
    divided = []
    for part in range(count):
        tested = tuple(shown[part::count])
        kept = tuple(i for i in range(len(masks)) if i not in tested)
        if has_both([masks[i] for i in kept]):
            divided.append(Fold(kept, tuple(masks[i] for i in kept), tested, tuple(masks[i] for i in tested)))
    return divided


def half_folds(masks: Sequence[Tensor], index: int = 0) -> list[Fold]:
    """Two folds of one of the examples, whose image stays whole (`model.halves`); the others are learned from in both.

    A side without background, there and in the others, teaches nothing.
    """
    sides = halves(masks[index])
    if sides is None:
        return []
    every, found = tuple(range(len(masks))), []
    for kept, tested in (sides, (sides[1], sides[0])):
        kept_masks = tuple(kept if i == index else mask for i, mask in enumerate(masks))
        if has_both(kept_masks):
            found.append(Fold(every, kept_masks, (index,), (tested,)))
    return found
