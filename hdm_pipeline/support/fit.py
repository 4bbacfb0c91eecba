"""What the examples of a class decide before anything is segmented: the reduction and the weights.

Two pairs compete in held-out IoU: the weights as they are at the reduction that suits them best, and weights adapted to
the examples, at the reduction at which adapting works (`scale_choice`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from torch import Tensor

from hdm_pipeline.model.network import FewShotNetwork
from hdm_pipeline.model.whole_image import Image, Mask, bounded_examples
from hdm_pipeline.support.adaptation import AdaptationReport, AdaptationSettings, StepCallback
from hdm_pipeline.support.cache import adapt_to_examples, adapted_weights, as_tensors, load_adapted
from hdm_pipeline.support.reduction import (
    SCALE_GAIN,
    adaptation_reduction,
    choose_reduction,
    reduce_example,
    visible_reduction,
)

Adapt = Literal["auto", "off"] | int

SMALLEST_TILE = 128
"""Pixels a side that a reduced tile should keep: windows from there on were trained."""

EXPLAINED = 0.95
"""Held-out IoU from which on adaptation is not tried: minutes for a gain within the labels' own accuracy."""


@dataclass(frozen=True, eq=False)
class Fit:
    """What the examples decided.

    Attributes:
        network: to segment with: the one that came in, or an adapted one.
        weights: file of the adapted weights, or None.
        reduction: how much smaller the network sees images.
        report: what adaptation did, or None where it was off.
        cached: whether the adapted weights were there already.
    """

    network: FewShotNetwork
    weights: Path | None
    reduction: float
    report: AdaptationReport | None
    cached: bool = False


def fit_to_examples(
    network: FewShotNetwork,
    images: Sequence[Image],
    masks: Sequence[Mask],
    *,
    adapt: Adapt = "auto",
    reduction: float | None = None,
    tile: int | None = None,
    cache: Path | None = None,
    seed: int = 0,
    on_step: StepCallback | None = None,
) -> Fit:
    """Choose reduction and weights by the examples.

    Args:
        network: the network to start from; not changed.
        images: K arrays [C, y, x] in 0..1 of one to three channels.
        masks: K arrays [y, x] of 1, 0 and 255.
        adapt: ``auto`` keeps adapted weights where held-out examples gain by them (and does not try where these are
            segmented with an IoU of 0.95 as it is), a number takes that many steps.
        reduction: given, or None to choose it.
        tile: side in pixels of the tiles that will be segmented; a reduced tile keeps `SMALLEST_TILE` of them.
        cache: folder for adapted weights, or None to keep them in memory.
        seed: of adaptation.
        on_step: as in `adapt_network`.

    Raises:
        SupportError: no example shows the class.
        TrainingError: adaptation diverged.
        WeightsError: adapted weights cannot be written or read.
    """
    tensors, labels = as_tensors(*bounded_examples(images, masks))
    most = float("inf") if tile is None else max(1.0, tile / SMALLEST_TILE)
    best, held_out = (reduction, -1.0) if reduction else choose_reduction(network, tensors, labels, most=most)
    best = visible_reduction(labels, best)
    if adapt == "off":
        return Fit(network, None, best, None)
    if adapt == "auto" and held_out >= EXPLAINED:
        return Fit(network, None, best, AdaptationReport(0, {0: held_out}, 0.0))
    smaller = best
    if reduction is None:
        wanted = min(most, adaptation_reduction(max(max(mask.shape) for mask in labels)))
        smaller = visible_reduction(labels, max(best, wanted))
    settings = AdaptationSettings(
        steps=None if isinstance(adapt, str) else adapt,
        floor=held_out + (SCALE_GAIN if smaller != best else 0.0),
    )
    adapted = _adapted(network, tensors, labels, smaller, settings, cache, seed, on_step)
    if adapted.report is not None and adapted.report.steps == 0:
        return replace(adapted, network=network, weights=None, reduction=best)
    return adapted


def _adapted(
    network: FewShotNetwork,
    tensors: Sequence[Tensor],
    labels: Sequence[Tensor],
    reduction: float,
    settings: AdaptationSettings,
    cache: Path | None,
    seed: int,
    on_step: StepCallback | None,
) -> Fit:
    pairs = [reduce_example(image, mask, reduction) for image, mask in zip(tensors, labels, strict=True)]
    images, masks = [image.numpy() for image, _ in pairs], [mask.numpy() for _, mask in pairs]
    if cache is None:
        result = adapt_to_examples(network, images, masks, settings=settings, seed=seed, on_step=on_step)
        return Fit(result.network, None, reduction, result.report)
    found = adapted_weights(cache, network, images, masks, settings=settings, seed=seed, on_step=on_step)
    return Fit(load_adapted(found), found.path, reduction, found.report, found.cached)
