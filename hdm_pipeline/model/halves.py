"""One labelled example as two: where a part must teach and another must measure, and there is but one example."""

from __future__ import annotations

import torch
from torch import Tensor

from hdm_pipeline.model.partial_labels import IGNORE, partly_labelled


def halves(mask: Tensor) -> tuple[Tensor, Tensor] | None:
    """A mask [H, W] of 1, 0 and 255 twice, each time with one half of its labels; None where one would show no target.

    The target is cut in equal parts across its longer extent, and the labels of one side are ignored in turn. Of a
    partly labelled example, the background's labels are cut in equal parts as well: they need not lie around the
    target.
    """
    places = (mask == 1).nonzero()
    if not len(places):
        return None
    axis = int((places.amax(0) - places.amin(0)).argmax())
    middle = torch.full_like(mask, int(places[:, axis].median()), dtype=torch.long)
    if partly_labelled(mask) and len(others := (mask == 0).nonzero()):
        middle[mask == 0] = int(others[:, axis].median())
    position = torch.arange(mask.shape[axis], device=mask.device).view((-1, 1) if axis == 0 else (1, -1))
    first = position <= middle
    ignored = torch.full_like(mask, IGNORE)
    sides = torch.where(first, mask, ignored), torch.where(first, ignored, mask)
    return sides if all(bool((side == 1).any()) for side in sides) else None
