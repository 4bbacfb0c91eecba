"""What the examples of a class decide before anything is segmented: the reduction and the weights.

Two pairs compete in held-out IoU: the weights as they are at the reduction that suits them best, and weights adapted to
the examples, at the reduction at which adapting works (`support.reduction`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hdm_pipeline.model.network import FewShotNetwork
from hdm_pipeline.model.support_tensors import SupportTensors, bounded, require_known
from hdm_pipeline.support.adaptation import AdaptationReport, AdaptationSettings, StepCallback
from hdm_pipeline.support.cache import adapted_weights
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

EXPLAINED = 0.9
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
    examples: Sequence[SupportTensors],
    *,
    adapt: Adapt = "auto",
    reduction: float | None = None,
    tile: int | None = None,
    cache: Path | None = None,
    seed: int = 0,
    on_step: StepCallback | None = None,
    on_candidate: Callable[[int, int], None] | None = None,
) -> Fit:
    """Choose reduction and weights by the examples.

    Args:
        network: the network to start from; not changed.
        examples: K examples of one class, at least one.
        adapt: ``auto`` keeps adapted weights where held-out examples gain by them (and does not try where these are
            segmented with an IoU of 0.9 as it is), a number takes that many steps.
        reduction: given, or None to choose it.
        tile: side in pixels of the tiles that will be segmented; a reduced tile keeps `SMALLEST_TILE` of them.
        cache: folder for adapted weights, or None to keep them in memory.
        seed: of adaptation.
        on_step: as in `adapt_network`.
        on_candidate: as in `choose_reduction`.

    Raises:
        SupportError: no example shows the class.
        TrainingError: adaptation diverged.
        WeightsError: adapted weights cannot be written or read.
    """
    if not network.knows_unknown:
        require_known(examples, network.architecture)
    shown = bounded(examples)
    images, masks = [example.pixels for example in shown], [example.labels for example in shown]
    most = float("inf") if tile is None else max(1.0, tile / SMALLEST_TILE)
    best, held_out = reduction or 1.0, -1.0
    if not reduction:
        best, held_out = choose_reduction(network, images, masks, most=most, on_candidate=on_candidate)
    best = visible_reduction(masks, best)
    if adapt == "off" or not network.adaptable:
        return Fit(network, None, best, None)
    if adapt == "auto" and held_out >= EXPLAINED:
        return Fit(network, None, best, AdaptationReport(0, {0: held_out}, 0.0))
    smaller = best
    if reduction is None:
        wanted = min(most, adaptation_reduction(max(max(mask.shape) for mask in masks)))
        smaller = visible_reduction(masks, max(best, wanted))
    settings = AdaptationSettings(
        steps=None if isinstance(adapt, str) else adapt,
        floor=held_out + (SCALE_GAIN if smaller != best else 0.0),
    )
    small = [reduce_example(image, mask, smaller) for image, mask in zip(images, masks, strict=True)]
    adapted = adapted_weights(
        cache,
        network,
        [image for image, _ in small],
        [mask for _, mask in small],
        settings=settings,
        seed=seed,
        on_step=on_step,
    )
    if adapted.report.steps == 0:
        return Fit(network, None, best, adapted.report, adapted.cached)
    return Fit(adapted.network, adapted.path, smaller, adapted.report, adapted.cached)
