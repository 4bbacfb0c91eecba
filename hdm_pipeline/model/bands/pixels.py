"""What is known of a pixel of a many-band image: its values, and the statistics of the cells it lies in.

A closed-form rule is linear in them, so its map of scores is summed up on each grid of cells and brought to full size
once a grid: hundreds of features cost little more than the bands themselves.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

CELLS = (2, 4, 8, 16)
"""Sides in pixels of the cells whose mean and standard deviation of each band are features."""

_LEAST_VARIANCE = 1e-6


def feature_count(bands: int) -> int:
    """Features of a pixel: the values of its bands, then mean and deviation of each band for each of `CELLS`."""
    return bands * (1 + 2 * len(CELLS))


def grids(pixels: Tensor, valid: Tensor) -> Iterator[Tensor]:
    """The features of an image: its pixels, and then those of each cell grid, all masked by validity.

    Args:
        pixels: [B, N, H, W] float32.
        valid: [B, H, W] bool; what is not valid counts in no cell.

    Yields:
        [B, N, H, W], then [B, 2 * N, ceil(H / s), ceil(W / s)] for each s of `CELLS`.
    """
    share = valid[:, None].to(pixels.dtype)
    masked = pixels * share
    yield masked
    below, right = -pixels.shape[-2] % CELLS[-1], -pixels.shape[-1] % CELLS[-1]
    share, mean = F.pad(share, (0, right, 0, below)), F.pad(masked, (0, right, 0, below))
    square, side = mean * mean, 1
    for cell in CELLS:
        share, mean, square = (F.avg_pool2d(part, cell // side) for part in (share, mean, square))
        side = cell
        whole = share.clamp_min(_LEAST_VARIANCE)
        center = mean / whole
        yield torch.cat((center, (square / whole - center * center).clamp_min(_LEAST_VARIANCE).sqrt()), dim=1)


def enlarged(grid: Tensor, cell: int, size: tuple[int, int]) -> Tensor:
    """A grid of cells [B, C, h, w] at the size of its image [B, C, *size], bilinear."""
    full = F.interpolate(grid, scale_factor=cell, mode="bilinear", align_corners=False)
    return full[..., : size[0], : size[1]]


def features_at(pixels: Tensor, valid: Tensor, places: Tensor) -> Tensor:
    """Features [n, `feature_count`] float64 of some pixels of one image.

    Args:
        pixels: [N, H, W] float32.
        valid: [H, W] bool.
        places: [n] indices into H * W.
    """
    size = (pixels.shape[-2], pixels.shape[-1])
    found = []
    for band in torch.split(pixels, 1):  # band by band: full-size maps of all features would be large
        first, *cells = grids(band[None], valid[None])
        maps = [first, *(enlarged(grid, cell, size) for grid, cell in zip(cells, CELLS, strict=True))]
        found.append(torch.cat([one[0].flatten(1)[:, places] for one in maps]))
    # [N, 1 + 2 * len(CELLS), n] to the order of `grids`: values of all bands, then means and deviations a grid.
    stacked = torch.stack(found)
    parts = [stacked[:, 0]]
    for index in range(len(CELLS)):
        parts += [stacked[:, 1 + 2 * index], stacked[:, 2 + 2 * index]]
    return torch.cat(parts).T.double()


def linear_map(pixels: Tensor, valid: Tensor, coefficients: Tensor) -> Tensor:
    """[B, H, W]: the sum of coefficient * feature at every pixel.

    Args:
        pixels: [B, N, H, W] float32.
        valid: [B, H, W] bool.
        coefficients: [`feature_count`] float32.
    """
    size, bands = (pixels.shape[-2], pixels.shape[-1]), pixels.shape[1]
    parts = torch.split(coefficients, [bands, *[2 * bands] * len(CELLS)])
    total = pixels.new_zeros(len(pixels), *size)
    for part, grid, cell in zip(parts, grids(pixels, valid), (1, *CELLS), strict=True):
        score = torch.einsum("bnhw,n->bhw", grid, part)
        total += score if cell == 1 else enlarged(score[:, None], cell, size)[:, 0]
    return total
