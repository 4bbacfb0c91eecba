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

    A part whose remaining examples show no target, or no background, is left out: nothing could be learned there.
    """
    if len(masks) == 1:
        return half_folds(masks[0])
    count = min(count, len(masks))
    divided = []
    for part in range(count):
        tested = tuple(range(part, len(masks), count))
        kept = tuple(i for i in range(len(masks)) if i not in tested)
        if has_both([masks[i] for i in kept]):
            divided.append(Fold(kept, tuple(masks[i] for i in kept), tested, tuple(masks[i] for i in tested)))
    return divided


def half_folds(mask: Tensor) -> list[Fold]:
    """Two folds of one example, whose image stays whole (`model.halves`); a side without background teaches nothing."""
    sides = halves(mask)
    if sides is None:
        return []
    pairs = (sides, (sides[1], sides[0]))
    return [Fold((0,), (kept,), (0,), (tested,)) for kept, tested in pairs if has_both([kept])]
