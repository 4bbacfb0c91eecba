"""One reduction for the classes of a pipeline where they bear it: one pass of the network's backbone a tile then.

Classes that use the same weights at the same reduction share the features of a tile; what a class costs besides is its
evidence and its decoder. `fit_to_examples` chooses a reduction for each class alone, and a hair's breadth may divide
two classes. Here they are brought together, as long as none of them loses by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hdm_pipeline.model.network import FewShotNetwork
from hdm_pipeline.model.partial_labels import TOO_UNSURE, sampling_error
from hdm_pipeline.model.support_tensors import SupportTensors, bounded
from hdm_pipeline.support.fit import Fit
from hdm_pipeline.support.folds import target_first
from hdm_pipeline.support.reduction import MOST_EXAMPLES, SCALE_GAIN, held_out_iou, visible_reduction

_VANISHED = -2.0  # no margin brings it up to a held-out IoU, or to the -1 of one that cannot be told


def share_reduction(
    network: FewShotNetwork, classes: Sequence[Sequence[SupportTensors]], fits: Sequence[Fit]
) -> list[Fit]:
    """The fits, with one reduction for as many unadapted classes as bear it.

    A class bears another's reduction where its held-out examples lose less IoU by it than the margin by which a
    reduction was chosen over another in the first place: `SCALE_GAIN`, or what so few labels can tell apart if that is
    more. Where fewer than 25 pixels of its target are labelled, it bears any at which its targets stay visible. Nothing
    is measured where all agree already.

    Args:
        network: the network as it came; classes with adapted weights have passes of their own anyway.
        classes: the examples of each class.
        fits: what each class alone chose.
    """
    plain = [index for index, fit in enumerate(fits) if fit.weights is None and fit.network is network]
    candidates = sorted({fits[index].reduction for index in plain})
    if len(candidates) < 2:
        return list(fits)
    examples = {index: _asked(bounded(classes[index])) for index in plain}
    measured = {
        (index, reduction): _held_out(network, examples[index], reduction)
        for index in plain
        for reduction in candidates
    }

    margins = {i: max(SCALE_GAIN, sampling_error([e.labels for e in examples[i]])) for i in plain}

    def bearing(reduction: float) -> list[int]:
        """The classes that lose nothing at a reduction."""
        return [i for i in plain if measured[i, reduction] > measured[i, fits[i].reduction] - margins[i]]

    def worth(reduction: float) -> tuple[int, float]:
        """How many classes it serves, and how well."""
        members = bearing(reduction)
        return len(members), sum(measured[i, reduction] for i in members)

    best = max(candidates, key=worth)
    members = bearing(best)
    return [replace(fit, reduction=best) if index in members else fit for index, fit in enumerate(fits)]


def _asked(examples: Sequence[SupportTensors]) -> list[SupportTensors]:
    return [examples[i] for i in target_first([one.labels for one in examples], MOST_EXAMPLES)]


def _held_out(network: FewShotNetwork, examples: Sequence[SupportTensors], reduction: float) -> float:
    """Held-out IoU; 0 where too few labels could tell it; `_VANISHED` where an example's target does."""
    masks = [example.labels for example in examples]
    if visible_reduction(masks, reduction) != reduction:
        return _VANISHED
    if sampling_error(masks) > TOO_UNSURE:
        return 0.0
    device = next(network.parameters()).device
    images = [example.pixels.to(device) for example in examples]
    return held_out_iou(network, images, [mask.to(device) for mask in masks], reduction)
