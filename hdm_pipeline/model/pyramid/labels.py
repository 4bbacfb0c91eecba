"""Label masks on the grids of the levels, and padding to whole grids."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from hdm_pipeline.iou import iou
from hdm_pipeline.model.partial_labels import partly_labelled
from hdm_pipeline.model.pyramid.backbone import STRIDES

FOREGROUND = 1
IGNORED = 255

_SAME = 0.95


def cell_shares(masks: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Share of target and of background in each cell of `stride` pixels; what is ignored counts as neither.

    Args:
        masks: [B, H, W] uint8: 1 target, 0 background, 255 ignored; H and W multiples of `stride`.
        stride: side of a cell in pixels.

    Returns:
        Two maps [B, H / stride, W / stride] float32 in [0, 1].
    """
    foreground = (masks == FOREGROUND).float()
    valid = (masks != IGNORED).float()
    shares = F.avg_pool2d(torch.stack((foreground, valid - foreground), dim=1), stride)
    return shares[:, 0], shares[:, 1]


def finest_level(masks: Sequence[Tensor]) -> int:
    """The finest level that the supports' masks need: 0 (stride 2), or 1 (stride 4) if that draws them as well.

    The rule: each mask is redrawn with one label for each cell of four pixels (the more frequent one). If every mask
    that shows the target keeps an IoU of 0.95 with its redrawn self, the surfaces are simple enough for level 1. Partly
    labelled masks show no surfaces and have no say; where there are no others, the finest level is used.

    Args:
        masks: [H, W] uint8: 1 target, 0 background, 255 ignored.
    """
    side = STRIDES[1]
    whole = [mask for mask in masks if not partly_labelled(mask)]
    if masks and not whole:
        return 0
    for mask in whole:
        padded = pad_masks(mask.unsqueeze(0), side)
        foreground, background = cell_shares(padded, side)
        coarse = (foreground > background).repeat_interleave(side, 1).repeat_interleave(side, 2)
        if iou(coarse.cpu().numpy(), padded.cpu().numpy()) < _SAME:
            return 0
    return 1


def pad_images(images: Tensor, multiple: int) -> Tensor:
    """[B, C, H, W] padded on the right and below to multiples: by reflection, or by the edge of small images."""
    height, width = images.shape[-2:]
    below, right = -height % multiple, -width % multiple
    if not below and not right:
        return images
    mode = "reflect" if below < height and right < width else "replicate"
    return F.pad(images, (0, right, 0, below), mode=mode)


def pad_masks(masks: Tensor, multiple: int) -> Tensor:
    """[B, H, W] uint8 padded on the right and below to multiples, as ignored."""
    height, width = masks.shape[-2:]
    return F.pad(masks, (0, -width % multiple, 0, -height % multiple), value=IGNORED)


def without_orphans(masks: Tensor, turns: int) -> Tensor:
    """Query masks [turns * B, H, W] of masks [slots, B, H, W]; all ignored where no other image shows the target."""
    present = (masks == FOREGROUND).flatten(2).any(2)
    others = present.sum(0, keepdim=True) - present.long()
    orphans = (others[:turns] == 0)[:, :, None, None]
    return masks[:turns].masked_fill(orphans, IGNORED).flatten(0, 1)
