"""Faster ways to compute the backbone's features: folded, bf16, and in OpenVINO.

Each is a module from normalized images [B, 3, H, W] to `Features` in float32, to be set by `HDMNet.use_extractor`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from hdm_pipeline.errors import OptimizationError
from hdm_pipeline.model.fast.compiled import compile_module, require_openvino, run_compiled
from hdm_pipeline.model.fast.neck import split_neck
from hdm_pipeline.model.fast.quantization import QuantizedConv, calibrate, get_ranges, quantize_convolutions, set_ranges
from hdm_pipeline.model.fast.winograd import use_winograd
from hdm_pipeline.model.hdmnet.backbone import FeatureExtractor, Features


def fold_batch_norms(module: nn.Module) -> nn.Module:
    """Multiply every batch norm into the convolution before it, in place; exact up to rounding (1e-5).

    A batch norm is taken to follow the convolution that precedes it among its siblings, as in every module here.
    """
    for parent in list(module.modules()):
        children = list(parent.named_children())
        for (conv_name, conv), (norm_name, norm) in pairwise(children):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, norm_name, nn.Identity())
    return module


class TorchExtractor(nn.Module):
    """The folded backbone in PyTorch, in float32 or bfloat16.

    Channels last, but for float32 on the CPU: there only the first layer, whose pooling is eight times faster so, and
    the rest was measured 10 % slower. There, too, wide convolutions go by Winograd (in bfloat16 that would lose digits,
    and a GPU's library chooses for itself).
    """

    def __init__(self, extractor: FeatureExtractor, dtype: torch.dtype) -> None:
        super().__init__()
        self.layers = split_neck(_folded(extractor)).to(dtype)
        self.dtype = dtype
        if next(self.layers.parameters()).device.type == "cpu" and dtype == torch.float32:
            use_winograd(self.layers)
            self.layers.layers[0] = nn.Sequential(self.layers.layers[0], _Contiguous())
            self.layers.layers[0].to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        else:
            self.layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Features:
        """Features in float32."""
        levels = self.layers(images.to(self.dtype, memory_format=torch.channels_last))
        return Features(*(level.float() for level in levels))


class _Contiguous(nn.Module):
    """Back to the layout that PyTorch has by default."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] as it came."""
        return x.contiguous()


class OpenVinoExtractor(nn.Module):
    """The backbone in OpenVINO on the CPU; compiled for each shape of tiles when it is first seen.

    Args:
        extractor: the float32 backbone.
        precision: ``fp32``, ``bf16`` or ``int8``.
        ranges: of `calibrated_ranges`; only int8 needs them.

    Raises:
        OptimizationError: OpenVINO is not installed, or int8 lacks its ranges.
    """

    def __init__(
        self, extractor: FeatureExtractor, precision: str, ranges: npt.NDArray[np.float32] | None = None
    ) -> None:
        super().__init__()
        require_openvino()
        self.precision = precision
        folded = split_neck(_folded(extractor))
        if precision == "fp32":
            use_winograd(folded)
        elif precision == "int8":
            if ranges is None:
                raise OptimizationError(
                    "int8 was not calibrated", where="support bank", remedy="encode the supports with precision int8"
                )
            set_ranges(quantize_convolutions(folded), ranges)
        self.layers = folded
        self._compiled: dict[tuple[int, ...], Any] = {}

    def forward(self, images: Tensor) -> Features:
        """Features in float32."""
        shape = tuple(images.shape)
        if shape not in self._compiled:
            self._compiled[shape] = compile_module(self.layers, images, self.precision)
        return Features(*run_compiled(self._compiled[shape], images))


def _folded(extractor: FeatureExtractor) -> FeatureExtractor:
    """A copy only for inference, batch norms folded."""
    copied = copy.deepcopy(extractor).eval()
    fold_batch_norms(copied)
    return copied.requires_grad_(False)


def calibrated_ranges(extractor: FeatureExtractor, tiles: Sequence[Tensor]) -> npt.NDArray[np.float32]:
    """[n, 2] range of each quantized convolution's input over normalized tiles [1, 3, H, W]."""
    folded = split_neck(_folded(extractor))
    convolutions: list[QuantizedConv] = quantize_convolutions(folded)
    calibrate(folded, convolutions, tiles)
    return get_ranges(convolutions)
