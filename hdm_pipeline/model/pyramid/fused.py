"""Convolutions that rectify or add up in the same pass over memory, for inference in float32 on the CPU.

oneDNN applies what follows a convolution while the result is still in the cache; PyTorch's compiler uses it through the
operators that are called here. Where they cannot be used (training, autocast, a GPU, tracing, a build without oneDNN)
the same is computed in separate passes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_OPERATORS: Any = torch.ops.mkldnn
AVAILABLE = torch.backends.mkldnn.is_available() and all(  # type: ignore[no-untyped-call]
    hasattr(_OPERATORS, name) for name in ("_convolution_pointwise", "_convolution_pointwise_", "_linear_pointwise")
)
"""Whether this build of PyTorch has the operators."""


_LARGEST = 1e4
"""Values of normalized pixels up to which no network here comes near the end of float32; usual ones are below 10."""

_separate = threading.local()


@contextmanager
def careful_with(pixels: Tensor) -> Iterator[None]:
    """Within: in separate passes where these normalized pixels are so large that float32 may overflow.

    oneDNN's rectifiers make 0 of what is not a number. PyTorch's keep it, so that whoever looks at the answer sees that
    there is none.
    """
    before = getattr(_separate, "on", False)
    if pixels.device.type == "cpu" and AVAILABLE and not before:
        _separate.on = not float(pixels.detach().abs().max()) <= _LARGEST  # also where it is not a number
    try:
        yield
    finally:
        _separate.on = before


def fuses(x: Tensor) -> bool:
    """Whether a convolution of `x` is computed in one pass with what follows, so that its input may be overwritten."""
    return (
        AVAILABLE
        and not getattr(_separate, "on", False)
        and bool(torch.backends.mkldnn.enabled)
        and not torch.is_grad_enabled()
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.jit.is_tracing()  # type: ignore[no-untyped-call, attr-defined]
        and not torch.compiler.is_compiling()
    )


def rectified(convolution: nn.Module, x: Tensor, *, six: bool = False) -> Tensor:
    """relu(convolution(x)), or relu6 of it; the layer's own `forward` is not called.

    Args:
        convolution: an `nn.Conv2d` with zeros as padding.
        x: [B, C, H, W].
        six: let no more than 6 through.
    """
    if fuses(x):
        kind, limits = ("hardtanh", [0.0, 6.0]) if six else ("relu", [])
        fused: Tensor = _OPERATORS._convolution_pointwise(x, *_layer(convolution), kind, limits, "")
        return fused
    plain = _plain(convolution, x)
    return F.relu6(plain, inplace=True) if six else F.relu(plain, inplace=True)


def added(convolution: nn.Module, x: Tensor, total: Tensor, *, relu: bool = False) -> Tensor:
    """total + convolution(x), rectified if asked for; `total` may be overwritten and must not be used afterwards.

    Args:
        convolution: an `nn.Conv2d` with zeros as padding.
        x: [B, C, H, W].
        total: of the shape that the convolution answers.
        relu: rectify the sum.
    """
    if fuses(x):
        after: tuple[Any, ...] = ("add", None, "relu" if relu else None, [], None)
        fused: Tensor = _OPERATORS._convolution_pointwise_(total, x, *_layer(convolution), *after)
        return fused
    answer = total + _plain(convolution, x)
    return F.relu(answer, inplace=True) if relu else answer


def products(x: Tensor, tokens: Tensor) -> Tensor:
    """[B, P, N] inner products of positions [B, P, D] and tokens [B, N, D]."""
    if len(x) == 1 and fuses(x):
        of_one: Tensor = _OPERATORS._linear_pointwise(x, tokens[0], None, "none", [], "")
        return of_one
    return x @ tokens.transpose(1, 2)


def _layer(layer: nn.Module) -> tuple[Any, ...]:
    layer = _narrowed(layer)
    return layer.weight, layer.bias, layer.padding, layer.stride, layer.dilation, layer.groups


def _plain(layer: nn.Module, x: Tensor) -> Tensor:
    layer = _narrowed(layer)
    return F.conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)


def _narrowed(layer: nn.Module) -> nn.Conv2d:
    if not isinstance(layer, nn.Conv2d):  # narrows nn.ModuleList's element type
        raise TypeError(type(layer).__name__)
    return layer
