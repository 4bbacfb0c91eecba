"""Label masks on the grids of the levels, and padding to whole grids."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

FOREGROUND = 1
IGNORED = 255


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
