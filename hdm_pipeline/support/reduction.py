"""Chooses how much an image is reduced before the network sees it, by nothing but the labelled examples.

The network was trained on windows of 100 to 250 pixels. Where objects are large (an organ on a 512-pixel slice) it does
better on a reduced image, whose window holds the object with its surroundings; where they are fine (nuclei, speckle)
reduction loses them. Which of the two it is, the examples tell: each candidate is measured by held-out examples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from hdm_pipeline.iou import iou
from hdm_pipeline.model.network import FewShotNetwork, Remembered
from hdm_pipeline.model.partial_labels import has_both, sampling_error
from hdm_pipeline.model.reduction import Size, enlarge, reduced_size, shrink_labels
from hdm_pipeline.support.crops import resize
from hdm_pipeline.support.folds import Fold, folds, target_first

SIDES = (320, 512, 224, 160)
"""Sides that the largest example may be reduced to; the first is taken unless another is clearly better."""

ADAPTATION_SIDE = 160
"""Side to which the largest example is reduced for adaptation."""

SCALE_GAIN = 0.02
"""Held-out IoU that another scale must gain."""

MOST_EXAMPLES = 6
_FOLDS = 2


def choose_reduction(
    network: FewShotNetwork,
    images: Sequence[Tensor],
    masks: Sequence[Tensor],
    *,
    most: float = math.inf,
    on_candidate: Callable[[int, int], None] | None = None,
) -> tuple[float, float]:
    """The reduction (at least 1), and its held-out IoU (-1 if it cannot be told).

    Each departure from the first of `SIDES` must gain 0.02 IoU, or what a few labelled pixels can tell apart
    (`sampling_error`) if that is more.

    Args:
        network: the network that will segment.
        images: K tensors [3, H, W] in 0..1.
        masks: K tensors [H, W] uint8 of 1, 0 and 255.
        most: the largest reduction that may be chosen.
        on_candidate: called with the number of candidates that are measured, and of all.
    """
    candidates = list(dict.fromkeys(min(most, r) for r in reductions(max(max(mask.shape) for mask in masks))))
    device = next(network.parameters()).device
    asked = target_first(masks, MOST_EXAMPLES)
    examples = [(images[i].to(device), masks[i].to(device)) for i in asked]
    best, best_iou = candidates[0], -1.0
    if len(candidates) == 1:
        if on_candidate is not None:
            on_candidate(1, 1)
        return best, best_iou
    images, masks = [image for image, _ in examples], [mask for _, mask in examples]
    gain = max(SCALE_GAIN, sampling_error(masks))
    kept: Remembered | None = None
    for done, reduction in enumerate(candidates, start=1):
        to_beat = best_iou + gain if best_iou >= 0 else best_iou
        with network.remembering() as seen:
            found = held_out_iou(network, images, masks, reduction, to_beat=to_beat)
        lost: Remembered | None = seen
        if found > to_beat:
            best, best_iou = reduction, found
            lost, kept = kept, seen
        if lost is not None:
            lost.make_room()
        if on_candidate is not None:
            on_candidate(done, len(candidates))
    return best, best_iou


def adaptation_reduction(side: int) -> float:
    """The reduction at which to adapt examples of which the largest has `side` pixels.

    Crops of an example teach context only if they hold some: they are cut from a small version of it.
    """
    return max(1.0, side / ADAPTATION_SIDE)


def visible_reduction(masks: Sequence[Tensor], reduction: float) -> float:
    """The reduction, or so much less of it that every example's target survives, and background of some example."""
    while reduction > 1:
        small = [shrink_labels(mask, reduced_size(*_size(mask), reduction)) for mask in masks]
        targets = all(bool((s == 1).any()) for s, m in zip(small, masks, strict=True) if bool((m == 1).any()))
        if targets and (has_both(small) or not has_both(masks)):
            break
        reduction = max(1.0, reduction / 1.5)
    return reduction


def reductions(side: int) -> list[float]:
    """Candidates for examples of which the largest has `side` pixels, in the order of `SIDES`; no enlargement."""
    return list(dict.fromkeys(max(1.0, side / wanted) for wanted in SIDES))


@torch.no_grad()
def held_out_iou(
    network: FewShotNetwork,
    images: Sequence[Tensor],
    masks: Sequence[Tensor],
    reduction: float,
    *,
    to_beat: float = -math.inf,
) -> float:
    """Mean IoU of the examples that show target, each segmented by others (one example: by its other half).

    Counted at full size, so that reductions can be compared; -1 if it cannot be told.

    Args:
        network, images, masks: as in `choose_reduction`, as are the others.
        reduction: at which it is counted.
        to_beat: once the mean cannot be more than this, nothing further is computed, and what it could be at most is
            given.
    """
    if to_beat >= 1.0:
        return 1.0
    parts = folds(masks, _FOLDS)
    left = sum(len(part.tested) for part in parts)
    known: list[float] = []
    with network.remembering():  # each example is a support of one fold and a query of another
        for found in chain.from_iterable(_fold_ious(network, images, masks, reduction, part) for part in parts):
            left -= 1
            known += [] if math.isnan(found) else [found]
            at_most = float(np.mean([*known, *[1.0] * left])) if known or left else -1.0
            if at_most <= to_beat:
                return at_most
    return float(np.mean(known)) if known else -1.0


def _fold_ious(
    network: FewShotNetwork, images: Sequence[Tensor], masks: Sequence[Tensor], reduction: float, fold: Fold
) -> Iterator[float]:
    """IoU of each example that is measured on, one after the other; NaN where there is nothing to be found."""
    kept = [reduce_example(images[i], m, reduction) for i, m in zip(fold.kept, fold.kept_masks, strict=True)]
    if not has_both([mask for _, mask in kept]):
        return
    bank = network.encode_support([network.normalize(image) for image, _ in kept], [mask for _, mask in kept])
    for index, truth in zip(fold.tested, fold.truths, strict=True):
        query, _ = reduce_example(images[index], masks[index], reduction)
        scores = enlarge(network.predict(network.normalize(query)[None], [bank]), _size(truth))[0, 0]
        yield iou((scores >= 0.5).cpu().numpy(), truth.cpu().numpy())


def reduce_example(image: Tensor, mask: Tensor, reduction: float) -> tuple[Tensor, Tensor]:
    """A smaller example (`crops.resize`)."""
    return resize(image, mask, reduced_size(*_size(mask), reduction))


def _size(mask: Tensor) -> Size:
    return mask.shape[0], mask.shape[1]
