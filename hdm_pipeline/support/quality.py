"""How well the labelled examples of a class agree: each is segmented by the others, before any run.

An example that the others cannot explain is either labelled otherwise than they are, or shows what they do not: both
are worth a look before a night's work. A single example is cut in two: each side is segmented by the other's labels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hdm_pipeline.errors import SupportError
from hdm_pipeline.iou import Counts, count
from hdm_pipeline.model.bank import SupportBank
from hdm_pipeline.model.partial_labels import TOO_UNSURE, has_both, sampling_error
from hdm_pipeline.model.segmenter import FewShotSegmenter
from hdm_pipeline.model.support_tensors import SupportTensors, bounded
from hdm_pipeline.model.whole_image import Mask, segment_image
from hdm_pipeline.support.folds import half_folds
from hdm_pipeline.support.reliability import Reliability

_POOR = 0.5
_LOST = 0.1
_FALSE = 0.1


ONLY_BACKGROUND = "shows background only"
"""How the note of an example begins that shows nothing of the class, and has no IoU; `reporting` knows it by that."""


@dataclass(frozen=True)
class SupportQuality:
    """What the other examples say about one.

    Attributes:
        name: of the example.
        iou: of its segmentation by the others (one example: by its other half); None where it shows background only,
            or where it cannot be told.
        false_share: share of its background that the others call target.
        target_share: share of its labelled pixels that are target.
        labelled_share: share of its pixels that are labelled; figures count these only.
        contradicts: whether it disagrees with the others; `note` says how.
        note: one line for the user; empty if all is well.
    """

    name: str
    iou: float | None
    false_share: float
    target_share: float
    labelled_share: float
    contradicts: bool
    note: str

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, for `run.json`."""
        return {
            "name": self.name,
            "leave_one_out_iou": self.iou,
            "false_share": self.false_share,
            "target_share": self.target_share,
            "labelled_share": self.labelled_share,
            "contradicts": self.contradicts,
            "note": self.note,
        }


def leave_one_out(
    segmenter: FewShotSegmenter,
    examples: Sequence[SupportTensors],
    names: Sequence[str],
    reliabilities: list[Reliability | None] | None = None,
    run: SupportBank | None = None,
    *,
    scores: list[Mask | None] | None = None,
    on_example: Callable[[int], None] | None = None,
) -> list[SupportQuality]:
    """How well each example is segmented by the others.

    Args:
        segmenter: with the weights and the reduction to judge by.
        examples: K examples of one class.
        names: K names for messages.
        reliabilities: gets each example's scores by the others against its labels; None where they cannot tell.
        run: bank of all examples, as the run uses it: the others' sources of evidence count as in it.
        scores: gets the [y, x] scores of each example by the others, in full; None where they cannot tell.
        on_example: called with the number of examples that are done.

    Raises:
        SupportError: no example shows the target.
    """
    _refuse_without_target(examples, names)
    if segmenter.runtime == "openvino" and segmenter.network.compiles:
        segmenter = segmenter.in_float32()
    only = len(examples) == 1
    found = [] if reliabilities is None else reliabilities
    drawn: list[Mask | None] = []
    counted: list[Counts | None] = []
    with segmenter.remembering():  # each example is a support of all others
        for index, example in enumerate(examples):
            if only:
                mask, counts = _by_halves(segmenter, example)
            else:
                mask = _by_others(segmenter, examples, index, run)
                counts = None if mask is None else count(mask >= 128, example.labels.numpy())
                found.append(None if mask is None else Reliability.of(mask, example.labels.numpy()))
            counted.append(counts)
            drawn.append(mask)
            if on_example is not None:
                on_example(index + 1)
    if scores is not None:
        scores += drawn
    typical = _typical(counted)
    return [
        _judge(name, counts, example, typical, only=only)
        for name, counts, example in zip(names, counted, examples, strict=True)
    ]


def _refuse_without_target(examples: Sequence[SupportTensors], names: Sequence[str]) -> None:
    if not any(_shows_target(example) for example in examples):
        raise SupportError("no example shows the target", where=", ".join(names), remedy="label it as 1")


def _by_others(
    segmenter: FewShotSegmenter, examples: Sequence[SupportTensors], index: int, run: SupportBank | None
) -> Mask | None:
    others = [other for i, other in enumerate(examples) if i != index]
    known = has_both([other.labels for other in others])
    return _scores(segmenter, others, examples[index], run) if known else None


def _by_halves(segmenter: FewShotSegmenter, example: SupportTensors) -> tuple[Mask | None, Counts | None]:
    """Each half's scores by the labels of the other half, and how right they are.

    Where nothing is labelled the scores are the mean of both.
    """
    found: list[tuple[Mask, Mask]] = []
    total = None
    for fold in half_folds([example.labels]):
        scores = _scores(segmenter, [replace(example, labels=fold.kept_masks[0])], example)
        if scores is not None:
            truth = fold.truths[0].numpy()
            total = (total or Counts()) + count(scores >= 128, truth)
            found.append((scores, truth))
    if not found:
        return None, None
    mask: Mask = np.mean([scores for scores, _ in found], axis=0).astype(np.uint8)
    for scores, truth in found:
        mask[truth != 255] = scores[truth != 255]
    return mask, total


def _scores(
    segmenter: FewShotSegmenter,
    others: Sequence[SupportTensors],
    query: SupportTensors,
    run: SupportBank | None = None,
) -> Mask | None:
    """[y, x] scores of an example by others; None where these alone lose a class by being reduced."""
    try:
        bank = segmenter.encode(bounded(others), weigh=False)
    except SupportError:
        return None  # all examples together are enough, as was checked: this one cannot be judged
    if run is not None:
        bank = segmenter.network.weighed_like(bank, run)
    return np.asarray(segment_image(segmenter, query.image.numpy(), query.valid.numpy(), [bank])[0])


def _shows_target(example: SupportTensors) -> bool:
    return bool((example.labels == 1).any())


def _typical(counted: Sequence[Counts | None]) -> float:
    ious = [counts.iou for counts in counted if counts is not None and counts.hit + counts.missed > 0]
    return float(np.median(ious)) if ious else float("nan")


def _judge(name: str, counts: Counts | None, example: SupportTensors, typical: float, *, only: bool) -> SupportQuality:
    mask = example.labels.numpy()
    labeled = int(np.count_nonzero(mask != 255))
    share = float(np.count_nonzero(mask == 1)) / labeled if labeled else 0.0
    known = labeled / mask.size
    false_share = 0.0 if counts is None or math.isnan(counts.false_share) else counts.false_share
    if not _shows_target(example):
        called = f"; the others call {false_share:.0%} of it the class" if false_share > _FALSE else ""
        return SupportQuality(name, None, false_share, share, known, False, f"{ONLY_BACKGROUND}{called}")
    if counts is None:
        note = "cannot be checked: no other part or example shows target and background"
        return SupportQuality(name, None, 0.0, share, known, False, note)
    iou = counts.iou if counts.hit + counts.missed else None
    if sampling_error([example.labels]) > TOO_UNSURE:
        note = f"has {labeled} labelled pixels, too few to judge it by"
        return SupportQuality(name, iou, false_share, share, known, False, note)
    note = ""
    if iou is not None and iou < _LOST and share > 0.5 and not only:
        note = "the others call its target background: are target and background swapped?"
    elif iou is not None and not only and iou < _POOR * typical:
        note = f"contradicts the others: IoU {iou:.2f} where {typical:.2f} is typical; check its labels"
    contradicts = bool(note)
    if not note and iou is not None and iou < _LOST:
        others = "labels of its other half" if only else "other examples"
        note = f"is hardly found by the {others} (IoU {iou:.2f}): check its labels"
    return SupportQuality(name, iou, false_share, share, known, contradicts, note)
