"""The neck's convolution on pooled bins instead of on the maps that they are resized to.

PSPNet's neck convolves 2 C channels of which C are maps of 1 to 36 bins, resized bilinearly (`PyramidPooling`). Mixing
channels and resizing commute, and resizing with a shift is a product with a small matrix on each axis: so the nine taps
are applied to the bins, and only the other C channels are convolved at full size. Half of the most expensive layer is
saved; exact up to rounding. The bins themselves are a product with one matrix, too: pooling kernels take five to ten
times as long (OpenVINO's took a fifth of a bf16 backbone).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hdm_pipeline.model.fast.convolutions import bias_of
from hdm_pipeline.model.hdmnet.backbone import FeatureExtractor, PyramidPooling

_TAPS = 3


class SplitNeck(nn.Module):
    """Pyramid pooling and the 3x3 convolution after it, as one module.

    Args:
        pooling: with batch norms folded or not.
        convolution: the neck's, of 2 C channels, padding 1, batch norm folded.
    """

    def __init__(self, pooling: PyramidPooling, convolution: nn.Conv2d) -> None:
        super().__init__()
        channels = convolution.in_channels // 2
        out, share = convolution.out_channels, channels // len(pooling.features)
        self.bins = tuple(int(branch[0].output_size) for branch in pooling.features)  # type: ignore[index]
        self.branches = nn.ModuleList(nn.Sequential(*list(branch)[1:]) for branch in pooling.features)  # type: ignore[call-overload]
        weight = convolution.weight.detach()
        self.direct = nn.Conv2d(channels, out, _TAPS, padding=1).to(weight)
        with torch.no_grad():
            self.direct.weight.copy_(weight[:, :channels])
            self.direct.bias.copy_(bias_of(convolution))  # type: ignore[union-attr]
        # One product for all taps: [tap y, tap x, out] rows, channels of the branch as columns.
        taps = [part.permute(2, 3, 0, 1).reshape(-1, share) for part in torch.split(weight[:, channels:], share, 1)]
        self.taps = nn.ParameterList(nn.Parameter(rows.contiguous(), requires_grad=False) for rows in taps)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] to [B, out, h, w]."""
        result: Tensor = self.direct(x)
        size = (x.shape[2], x.shape[3])
        members = torch.cat([_members(count, size, x) for count in self.bins], 1)
        pooled = x.flatten(2) @ members / members.sum(0, dtype=torch.float32).to(x.dtype)
        parts = torch.split(pooled, [count**2 for count in self.bins], 2)
        for count, branch, part, taps in zip(self.bins, self.branches, parts, self.taps, strict=True):
            result = result + self._resized(branch(part.reshape(*part.shape[:2], count, count)), taps, size)
        return result

    def _resized(self, bins: Tensor, taps: Tensor, size: tuple[int, int]) -> Tensor:
        """What the convolution makes of bins [B, c, n, n] resized to `size`: [B, out, *size]."""
        batch, _, count, _ = bins.shape
        out = taps.shape[0] // _TAPS**2
        mixed = (taps @ bins.flatten(2)).view(batch, _TAPS, _TAPS, out, count, count)  # tap y, tap x, out, y, x
        across = mixed.permute(0, 3, 1, 4, 2, 5).reshape(batch, out, _TAPS * count, _TAPS * count)
        rows, columns = (_shifted_resize(count, length, bins) for length in size)
        return rows @ across @ columns.transpose(0, 1)


def split_neck(extractor: FeatureExtractor) -> FeatureExtractor:
    """Put a `SplitNeck` into an extractor whose batch norms are folded, in place."""
    pooling, convolution = extractor.ppm, extractor.neck[0]  # type: ignore[index]
    if isinstance(pooling, PyramidPooling) and isinstance(convolution, nn.Conv2d):
        extractor.ppm, extractor.neck = SplitNeck(pooling, convolution), nn.Identity()
    return extractor


def _members(count: int, size: tuple[int, int], like: Tensor) -> Tensor:
    """[h * w, count ** 2]: 1 where a position belongs to a bin of an adaptive average pooling, else 0."""
    rows, columns = (_held(count, length, like.device) for length in size)
    return (rows[:, None, :, None] & columns[None, :, None, :]).reshape(-1, count**2).to(like)


def _held(count: int, length: int, device: torch.device) -> Tensor:
    """[length, count] bool: which bins hold a position, as `nn.AdaptiveAvgPool2d` draws them; they may overlap."""
    bins, places = torch.arange(count, device=device), torch.arange(length, device=device)[:, None]
    return (places >= bins * length // count) & (places < -(-(bins + 1) * length // count))


def _shifted_resize(count: int, length: int, like: Tensor) -> Tensor:
    """[length, 3 * count]: what each tap of a convolution, padded with zeros, sees of `count` resized bins."""
    places = torch.linspace(0, count - 1, length, dtype=torch.float64, device=like.device)
    # Bilinear, corners aligned.
    resize = (1 - (places[:, None] - torch.arange(count, device=like.device)).abs()).clamp_min(0)
    padded = F.pad(resize, (0, 0, 1, 1))
    return torch.cat([padded[tap : tap + length] for tap in range(_TAPS)], 1).to(like)
