"""EfficientNet-Lite without its classifier: features of an image that were learned on ImageNet.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019; the Lite variants
leave out squeeze-and-excitation, use ReLU6, and scale neither the stem nor the depth of the first and last stage.
Batch normalization is folded into the convolutions when weights are imported (`backbone_import`): its statistics never
change here, and a convolution with a bias is all that is left of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from hdm_pipeline.model.pyramid.fused import added, fuses, rectified

Variant = Literal["lite0", "lite1", "lite2"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)

_SCALES: dict[Variant, tuple[float, float]] = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2)}
_STEM = 32
# For each stage: blocks, side of the kernel, stride of the first block, expansion, channels.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)

STRIDES = (2, 4, 8, 16, 16, 32, 32)
"""Strides of the stages, first stage first."""


def stage_plan(variant: Variant) -> list[tuple[int, int]]:
    """Blocks and channels of each of the seven stages."""
    width, depth = _SCALES[variant]
    last = len(_STAGES) - 1
    return [
        (blocks if number in (0, last) else math.ceil(blocks * depth), _whole_channels(channels * width))
        for number, (blocks, _, _, _, channels) in enumerate(_STAGES)
    ]


class EfficientNetLite(nn.Module):
    """The stem and the first stages of an EfficientNet-Lite, batch normalization folded.

    Args:
        variant: which of the published sizes.
        stages: how many of the seven stages are kept.
    """

    def __init__(self, variant: Variant, stages: int = len(_STAGES)) -> None:
        super().__init__()
        self.stem = SameConv(3, _STEM, 3, stride=2)
        self.stages = nn.ModuleList()
        channels = _STEM
        for (count, width), (_, kernel, stride, expansion, _) in zip(stage_plan(variant), _STAGES, strict=True):
            if len(self.stages) == stages:
                break
            blocks = []
            for number in range(count):
                blocks.append(InvertedBlock(channels, width, kernel, stride if number == 0 else 1, expansion))
                channels = width
            self.stages.append(nn.Sequential(*blocks))
        self.widths = tuple(width for _, width in stage_plan(variant)[:stages])

    def forward(self, images: Tensor, wanted: Sequence[int]) -> list[Tensor]:
        """Maps [B, widths[i], H / STRIDES[i], W / STRIDES[i]] of the stages `wanted`, in ascending order.

        Args:
            images: [B, 3, H, W] in [0, 1].
            wanted: numbers of stages, from 0.
        """
        x = rectified(self.stem, self.stem.padded((images * 255.0 - 127.0) / 128.0), six=True)
        found = []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number in wanted:
                found.append(x)
        return found


class InvertedBlock(nn.Module):
    """Widen by 1x1, filter each channel by itself, narrow by 1x1 without a rectifier; skipped over where shapes allow.

    Args:
        channels: channels in.
        width: channels out.
        kernel: side of the depthwise kernel.
        stride: of the depthwise convolution.
        expansion: how much wider the inner map is; 1 leaves out the first convolution.
    """

    def __init__(self, channels: int, width: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        self.expand = nn.Conv2d(channels, inner, 1) if expansion != 1 else None
        self.depthwise = SameConv(inner, inner, kernel, stride=stride, groups=inner)
        self.project = nn.Conv2d(inner, width, 1)
        self.skips = stride == 1 and channels == width

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] to [B, width, ceil(H / stride), ceil(W / stride)]; without gradient `x` may be
        overwritten where the block skips."""
        filtered = rectified(self.depthwise, self._widened(x), six=True)
        if self.skips:
            return added(self.project, filtered, x)
        out: Tensor = self.project(filtered)
        return out

    def _widened(self, x: Tensor) -> Tensor:
        """The inner map, padded for the depthwise convolution."""
        if self.expand is None:
            return self.depthwise.padded(x)
        if self.depthwise.stride[0] == 1 or not fuses(x):
            return self.depthwise.padded(rectified(self.expand, x, six=True))
        # Padding the narrow map is far cheaper; of the padding, widening made what the bias says.
        wide = rectified(self.expand, self.depthwise.padded(x), six=True)
        (top, _), (left, _) = self.depthwise.padding_of(x)
        wide[..., :top, :].zero_()
        wide[..., top + x.shape[-2] :, :].zero_()
        wide[..., :left].zero_()
        wide[..., left + x.shape[-1] :].zero_()
        return wide


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding: an odd pixel of padding goes to the right and below."""

    def __init__(self, channels: int, width: int, kernel: int, *, stride: int, groups: int = 1) -> None:
        # At stride 1 the padding is symmetric, and PyTorch's own is faster than padding apart.
        super().__init__(channels, width, kernel, stride, kernel // 2 if stride == 1 else 0, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, width, ceil(H / stride), ceil(W / stride)]."""
        return super().forward(self.padded(x))

    def padded(self, x: Tensor) -> Tensor:
        """[B, C, H, W] with the padding that PyTorch's convolution does not bring."""
        (top, bottom), (left, right) = self.padding_of(x)
        return F.pad(x, (left, right, top, bottom)) if top + bottom + left + right else x

    def padding_of(self, x: Tensor) -> tuple[tuple[int, int], tuple[int, int]]:
        """What `padded` adds above and below, and to the left and right."""
        if self.stride[0] == 1:
            return (0, 0), (0, 0)
        height, width = (same_padding(n, self.kernel_size[0], self.stride[0]) for n in x.shape[-2:])
        return height, width


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Padding before and after, so that ceil(size / stride) positions come out."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _whole_channels(channels: float, unit: int = 8) -> int:
    """The nearest multiple of `unit`, never less than nine tenths of `channels`."""
    nearest = max(unit, int(channels + unit / 2) // unit * unit)
    return nearest + unit if nearest < 0.9 * channels else nearest
