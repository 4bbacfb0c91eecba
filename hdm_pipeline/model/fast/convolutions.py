"""What the faster modes ask of plain convolutions."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


def bias_of(conv: nn.Conv2d) -> Tensor:
    """[out] bias of a convolution, zeros where it has none."""
    return conv.weight.new_zeros(conv.out_channels) if conv.bias is None else conv.bias


def replace_convolutions(module: nn.Module, replace: Callable[[nn.Conv2d], nn.Module]) -> None:
    """Put in place of every convolution below `module`, in order, what `replace` gives for it."""
    for name, child in module.named_children():
        if isinstance(child, nn.Conv2d):
            setattr(module, name, replace(child))
        else:
            replace_convolutions(child, replace)
