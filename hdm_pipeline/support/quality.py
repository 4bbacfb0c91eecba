"""How well the labelled examples of a class agree: each is segmented by the others, before any run.

An example that the others cannot explain is either labelled otherwise than they are, or shows what they do not: both
are worth a look before a night's work. One example alone is cut in two: each side is segmented by the other's labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hdm_pipeline.errors import SupportError
from hdm_pipeline.iou import Counts, count
from hdm_pipeline.model.segmenter import FewShotSegmenter
from hdm_pipeline.model.whole_image import Image, Mask, bounded_examples, segment_image
from hdm_pipeline.support.cache import as_tensors
from hdm_pipeline.support.folds import halves

_POOR = 0.5
_LOST = 0.1


@dataclass(frozen=True)
class SupportQuality:
    """What the other examples say about one.

    Attributes:
        name: of the example.
        iou: of its segmentation by the others (one example: by its other half); None where it shows no target
            and none was found, or where it cannot be told.
        false_share: share of its background that the others call target.
        target_share: share of its labelled pixels that are target.
        contradicts: whether it disagrees with the others; `note` says how.
        note: one line for the user; empty if all is well.
    """

    name: str
    iou: float | None
    false_share: float
    target_share: float
    contradicts: bool
    note: str

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, for `run.json`."""
        return {
            "name": self.name,
            "leave_one_out_iou": self.iou,
            "false_share": self.false_share,
            "target_share": self.target_share,
            "contradicts": self.contradicts,
            "note": self.note,
        }


def check_support(
    segmenter: FewShotSegmenter, images: Sequence[Image], masks: Sequence[Mask], names: Sequence[str]
) -> list[SupportQuality]:
    """Leave-one-out quality of every example.

    Args:
        segmenter: the network that the run will use.
        images: K arrays [C, y, x] float32 in 0..1.
        masks: K arrays [y, x] uint8: 1 target, 0 background, 255 ignored.
        names: K names for messages.

    Raises:
        SupportError: no example shows the target, or the numbers of images, masks and names differ.
    """
    if not len(images) == len(masks) == len(names):
        raise SupportError(f"{len(images)} images, {len(masks)} masks, {len(names)} names", remedy="give K of each")
    if not any((mask == 1).any() for mask in masks):
        raise SupportError("no example shows the target", where=", ".join(names), remedy="label it as 1")
    counted = [_by_halves(segmenter, images[0], masks[0])] if len(images) == 1 else _by_others(segmenter, images, masks)
    typical = _typical(counted)
    return [
        _judge(name, counts, mask, typical, alone=len(images) == 1)
        for name, counts, mask in zip(names, counted, masks, strict=True)
    ]


def _by_others(segmenter: FewShotSegmenter, images: Sequence[Image], masks: Sequence[Mask]) -> list[Counts | None]:
    counted: list[Counts | None] = []
    for index, (image, mask) in enumerate(zip(images, masks, strict=True)):
        others = [i for i in range(len(images)) if i != index]
        if not any((masks[i] == 1).any() for i in others):
            counted.append(None)
            continue
        counted.append(_segmented(segmenter, [images[i] for i in others], [masks[i] for i in others], image, mask))
    return counted


def _by_halves(segmenter: FewShotSegmenter, image: Image, mask: Mask) -> Counts | None:
    _, (label,) = as_tensors([image], [mask])
    total = None
    for fold in halves(label):
        kept, truth = fold.kept_masks[0].numpy(), fold.truths[0].numpy()
        total = (total or Counts()) + _segmented(segmenter, [image], [kept], image, truth)
    return total


def _segmented(
    segmenter: FewShotSegmenter, images: Sequence[Image], masks: Sequence[Mask], query: Image, truth: Mask
) -> Counts:
    bank = segmenter.encode_support(*bounded_examples(images, masks))
    scores = segment_image(segmenter, query, np.asarray(np.isfinite(query).all(axis=0)), [bank])
    return count(scores[0] >= 128, truth)


def _typical(counted: Sequence[Counts | None]) -> float:
    ious = [counts.iou for counts in counted if counts is not None and not math.isnan(counts.iou)]
    return float(np.median(ious)) if ious else float("nan")


def _judge(name: str, counts: Counts | None, mask: Mask, typical: float, *, alone: bool) -> SupportQuality:
    labeled = int(np.count_nonzero(mask != 255))
    share = float(np.count_nonzero(mask == 1)) / labeled if labeled else 0.0
    if counts is None:
        note = "cannot be checked: no other part or example shows the target"
        return SupportQuality(name, None, 0.0, share, False, note)
    iou = None if math.isnan(counts.iou) else counts.iou
    false_share = 0.0 if math.isnan(counts.false_share) else counts.false_share
    note = ""
    if iou is not None and iou < _LOST and share > 0.5 and not alone:
        note = "the others call its target background: are target and background swapped?"
    elif iou is not None and not alone and iou < _POOR * typical:
        note = f"contradicts the others: IoU {iou:.2f} where {typical:.2f} is typical; check its labels"
    contradicts = bool(note)
    if not note and iou is not None and iou < _LOST:
        note = f"is hardly explained by its {'other half' if alone else 'fellows'} (IoU {iou:.2f}): check the labels"
    return SupportQuality(name, iou, false_share, share, contradicts, note)
