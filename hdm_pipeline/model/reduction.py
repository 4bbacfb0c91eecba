"""Shows the network an image smaller than it is, and brings its scores back to full size.

A window of some hundred pixels must hold an object with its surroundings: on a 512-pixel slice an organ is better seen
at a third of the size. A reduction of 3 makes an image a third as high and a third as wide.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hdm_pipeline.model.partial_labels import keep_labels, partly_labelled

Size = tuple[int, int]


def reduced_size(height: int, width: int, reduction: float) -> Size:
    """Height and width of a reduced image, at least one pixel each."""
    return max(1, round(height / reduction)), max(1, round(width / reduction))


def shrink(pixels: Tensor, size: Size) -> Tensor:
    """[B, C, H, W] to [B, C, *size], averaged where it shrinks."""
    if tuple(pixels.shape[-2:]) == size:
        return pixels
    return F.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)


def shrink_valid(pixels: Tensor, valid: Tensor, size: Size) -> tuple[Tensor, Tensor]:
    """Reduced pixels and validity: averages of only the valid pixels, valid where these are at least half.

    Args:
        pixels: [B, C, H, W], finite where valid.
        valid: [B, H, W] bool.
        size: height and width wanted.
    """
    if tuple(valid.shape[-2:]) == size:
        return pixels, valid
    if bool(valid.all()):
        return shrink(pixels, size), valid.new_ones((len(valid), *size))
    share = shrink(valid[:, None].to(pixels.dtype), size)
    sums = shrink(torch.where(valid[:, None], pixels, 0.0), size)
    return sums / share.clamp_min(1e-3), share[:, 0] >= 0.5


def shrink_labels(mask: Tensor, size: Size) -> Tensor:
    """[H, W] uint8 labels in another size: each the one nearest to its pixel's center.

    Of a partly labelled example no labelled pixel is lost (`partial_labels.keep_labels`).
    """
    if tuple(mask.shape) == size:
        return mask
    small = F.interpolate(mask[None, None].float(), size, mode="nearest-exact")[0, 0].to(torch.uint8)
    return keep_labels(mask, small) if partly_labelled(mask) else small


def enlarge(scores: Tensor, size: Size) -> Tensor:
    """[B, classes, h, w] scores to [B, classes, *size], bilinear."""
    if tuple(scores.shape[-2:]) == size:
        return scores
    return F.interpolate(scores.float(), size, mode="bilinear", align_corners=False)
