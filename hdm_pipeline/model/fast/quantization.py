"""Static int8 quantization of the backbone's convolutions, calibrated on tiles.

Weights are quantized symmetrically for each output channel, activations for each tensor over the range seen on the
calibration tiles. Here the arithmetic is only stated, as fake quantization in float32, which OpenVINO turns into int8
kernels. PyTorch cannot quantize convolutions dynamically, and its static kernels convert back to float32 around each
ReLU and shortcut, which costs what they save.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hdm_pipeline.model.fast.convolutions import replace_convolutions

_LEVELS = 255
_WEIGHT_LEVELS = 127
_TINY = 1e-8


class QuantizedConv(nn.Module):
    """A convolution that sees its input and weights as int8 would hold them.

    Attributes:
        low, high: range of the input, extended by every calibration tile; always holds 0.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self.low = self.high = 0.0
        self.calibrating = False
        peak = conv.weight.detach().abs().amax((1, 2, 3)) / _WEIGHT_LEVELS
        self.scale = peak.clamp(min=_TINY)
        self.zero = torch.zeros_like(self.scale, dtype=torch.int32)

    def forward(self, x: Tensor) -> Tensor:
        """As the convolution; while calibrating, in float32 and with an eye on the range."""
        if self.calibrating:
            self.low, self.high = min(self.low, float(x.amin())), max(self.high, float(x.amax()))
            out: Tensor = self.conv(x)
            return out
        scale = max((self.high - self.low) / _LEVELS, _TINY)
        seen = torch.fake_quantize_per_tensor_affine(x, scale, round(-self.low / scale), 0, _LEVELS)
        # Rounded here and not once: OpenVINO must see the rounding to keep the weights in int8.
        weight = torch.fake_quantize_per_channel_affine(
            self.conv.weight, self.scale, self.zero, 0, -_WEIGHT_LEVELS, _WEIGHT_LEVELS
        )
        conv = self.conv
        return F.conv2d(seen, weight, conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups)


def quantize_convolutions(module: nn.Module) -> list[QuantizedConv]:
    """Replace every convolution below `module` but the first, which sees the image itself; returns them in order."""
    found: list[QuantizedConv] = []
    first = next((part for part in module.modules() if isinstance(part, nn.Conv2d)), None)

    def quantized(conv: nn.Conv2d) -> nn.Module:
        if conv is first:
            return conv
        found.append(QuantizedConv(conv))
        return found[-1]

    replace_convolutions(module, quantized)
    return found


def calibrate(module: nn.Module, convolutions: Sequence[QuantizedConv], tiles: Sequence[Tensor]) -> None:
    """Run normalized tiles [1, 3, H, W] through the module and remember the range of every convolution's input."""
    for conv in convolutions:
        conv.calibrating = True
    with torch.no_grad():
        for tile in tiles:
            module(tile)
    for conv in convolutions:
        conv.calibrating = False


def get_ranges(convolutions: Sequence[QuantizedConv]) -> npt.NDArray[np.float32]:
    """[n, 2] low and high of each convolution, as a bank carries them."""
    return np.array([(conv.low, conv.high) for conv in convolutions], np.float32).reshape(-1, 2)


def set_ranges(convolutions: Sequence[QuantizedConv], ranges: npt.NDArray[np.float32]) -> None:
    """The inverse of `get_ranges`."""
    for conv, (low, high) in zip(convolutions, ranges.tolist(), strict=True):
        conv.low, conv.high = low, high
