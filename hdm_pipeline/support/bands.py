"""How much the evidence of all bands counts beside the network's, by nothing but the labelled examples.

Only for images of more than three bands. A quarter is taken unless another weight segments held-out examples clearly
better. One example alone decides nothing: its halves share light and noise, so that on one of them any rule that was
solved on the other looks right (measured: docs/decisions/many-bands.md). Nor do fewer than 25 labelled pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from hdm_pipeline.errors import SupportError
from hdm_pipeline.iou import iou
from hdm_pipeline.model.bands.banks import DEFAULT_WEIGHT, ClassBands
from hdm_pipeline.model.partial_labels import TOO_UNSURE, sampling_error
from hdm_pipeline.model.segmenter import FewShotSegmenter
from hdm_pipeline.model.support_tensors import SupportTensors, bounded
from hdm_pipeline.model.whole_image import segment_image
from hdm_pipeline.support.folds import folds, target_first

WEIGHTS = (DEFAULT_WEIGHT, 0.5, 0.125, 0.0, 1.0)
"""Weights that are tried; the first is taken unless another is clearly better."""

WEIGHT_GAIN = 0.02
"""Held-out IoU that another weight must gain."""

_FOLDS = 2
_MOST_EXAMPLES = 6


@dataclass(frozen=True)
class BandWeight:
    """How much the evidence of all bands counts.

    Attributes:
        weight: of its log odds, beside those of the network.
        held_out_iou: mean IoU over held-out examples by weight; empty for one example.
    """

    weight: float = DEFAULT_WEIGHT
    held_out_iou: dict[float, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, for `run.json`."""
        return {"weight": self.weight, "held_out_iou": {f"{w:g}": round(v, 4) for w, v in self.held_out_iou.items()}}


def choose_band_weight(segmenter: FewShotSegmenter, examples: Sequence[SupportTensors]) -> BandWeight | None:
    """The weight for a class; None where its examples have up to three bands.

    Args:
        segmenter: with the network and the reduction that will segment.
        examples: K examples of one class.
    """
    if examples[0].projection is None:
        return None
    unsure = sampling_error([example.labels for example in examples])
    if len(examples) == 1 or unsure > TOO_UNSURE:
        return BandWeight()
    plain = segmenter.in_float32()
    asked = [examples[i] for i in target_first([one.labels for one in examples], _MOST_EXAMPLES)]
    shown = [part for example in asked for part in bounded([example], most=1)]
    found: dict[float, list[float]] = {weight: [] for weight in WEIGHTS}
    for fold in folds([example.labels for example in shown], _FOLDS):
        kept = [replace(shown[i], labels=mask) for i, mask in zip(fold.kept, fold.kept_masks, strict=True)]
        tested = [replace(shown[i], labels=truth) for i, truth in zip(fold.tested, fold.truths, strict=True)]
        for weight, values in _measured(plain, kept, tested).items():
            found[weight] += values
    means = {weight: float(np.nanmean(values)) for weight, values in found.items() if not np.isnan(values).all()}
    return BandWeight(best_weight(means, max(WEIGHT_GAIN, unsure)), means)


def best_weight(held_out: dict[float, float], gain: float = WEIGHT_GAIN) -> float:
    """The weight that segments held-out examples best; the default one unless another gains so much IoU."""
    return max(WEIGHTS, key=lambda weight: held_out.get(weight, -1.0) + (gain if weight == DEFAULT_WEIGHT else 0.0))


def _measured(
    segmenter: FewShotSegmenter, kept: Sequence[SupportTensors], tested: Sequence[SupportTensors]
) -> dict[float, list[float]]:
    """IoU of each tested example by weight; the network segments it once."""
    segmenter.band_weight = 0.0
    try:
        bank = segmenter.encode(kept, weigh=False)
    except SupportError:
        return {}  # these alone lose a class by being reduced: they tell nothing
    rule = ClassBands.of(bank)
    if rule is None:
        return {}
    found: dict[float, list[float]] = {weight: [] for weight in WEIGHTS}
    for example in tested:
        alone = torch.from_numpy(segment_image(segmenter, example.image.numpy(), example.valid.numpy(), [bank]))
        for weight, values in found.items():
            probability = replace(rule, weight=weight).combined(
                alone[None, 0].float() / 255, example.image[None], example.valid[None]
            )
            values.append(iou((probability[0] > 0.5).numpy(), example.labels.numpy()))
    return found
