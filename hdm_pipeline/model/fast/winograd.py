"""3x3 convolutions by Winograd's minimal filtering: 25 products for nine outputs instead of 81.

Lavin and Gray, Fast Algorithms for Convolutional Neural Networks (CVPR 2016), F(3x3, 3x3) with Cook and Toom's
interpolation points 0, 1, -1, 2 and infinity. Larger tiles save little more, lose digits, and fit a 60x60 grid worse.
A dilated convolution is the same on each of the dilation's interleaved grids.
"""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hdm_pipeline.model.fast.convolutions import bias_of, replace_convolutions

_KERNEL = 3
_OUT = 3
_IN = _OUT + _KERNEL - 1
_PLACES = tuple(divmod(place, _OUT) for place in range(_IN))  # tiles overlap: the last two places are the next tile's
_WIDE = 256  # below, transforming the tiles costs what their products save
_TOGETHER = 512  # channels at a time: bounds the memory, and a part stays in the cache
_FILTERS = ((1 / 2, 0, 0), (-1 / 2, -1 / 2, -1 / 2), (-1 / 6, 1 / 6, -1 / 6), (1 / 6, 1 / 3, 2 / 3), (0, 0, 1))
_INPUTS = ((2, -1, -2, 1, 0), (0, -2, -1, 1, 0), (0, 2, -3, 1, 0), (0, -1, 0, 1, 0), (0, 2, -1, -2, 1))
_OUTPUTS = ((1, 1, 1, 1, 0), (0, 1, -1, 2, 0), (0, 1, 1, 4, 1))


class WinogradConv(nn.Module):
    """A 3x3 convolution of stride 1 that keeps the size, for inference; exact up to rounding.

    Args:
        convolution: padding equal to its dilation, one group; see `takes_winograd`.
    """

    inputs: Tensor
    outputs: Tensor
    bias: Tensor

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.dilation = int(convolution.dilation[0])
        weight = convolution.weight.detach()
        one = torch.tensor(_FILTERS, dtype=torch.float64, device=weight.device)
        filters = weight.new_empty(_IN**2, *weight.shape[:2])
        for number, kernel in enumerate(weight):  # one by one: in float64 all of them are large
            filters[:, number] = torch.einsum("au,bv,iuv->abi", one, one, kernel.double()).flatten(0, 1)
        parts = torch.split(filters, _TOGETHER, 2)
        self.filters = nn.ParameterList(nn.Parameter(part.contiguous(), requires_grad=False) for part in parts)
        for name, matrix in (("inputs", _INPUTS), ("outputs", _OUTPUTS)):  # both axes at once
            rows = torch.tensor(matrix, dtype=weight.dtype, device=weight.device)
            self.register_buffer(name, torch.kron(rows, rows))
        self.register_buffer("bias", bias_of(convolution).detach()[:, None, None].clone())

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] to [B, out, h, w]."""
        batch, _, height, width = x.shape
        out, step = self.bias.shape[0], self.dilation
        rows, columns = (-(-length // (_OUT * step)) for length in (height, width))
        tiles = rows * columns * step**2
        products = x.new_zeros(1)
        for part, filters in zip(torch.split(x, _TOGETHER, 1), self.filters, strict=True):
            spectrum = (self.inputs @ self._tiles(part, rows, columns)).view(_IN**2, -1, batch * tiles)
            products = torch.baddbmm(products, filters, spectrum)
        answer = self.outputs @ products.view(_IN**2, -1)
        grid = answer.view(_OUT, _OUT, out, batch, rows, step, columns, step).permute(3, 2, 4, 0, 5, 6, 1, 7)
        return grid.reshape(batch, out, rows * _OUT * step, columns * _OUT * step)[:, :, :height, :width] + self.bias

    def _tiles(self, x: Tensor, rows: int, columns: int) -> Tensor:
        """[25, C * B * tiles]: what each place of the 5x5 input of a tile holds."""
        batch, channels, height, width = x.shape
        step, size = self.dilation, _OUT * self.dilation
        x = F.pad(x, (step, (columns + 1) * size - step - width, step, (rows + 1) * size - step - height))
        # Each place first gets a plane of its own, so that its tiles are neighbors.
        planes = x.view(batch, channels, rows + 1, _OUT, step, columns + 1, _OUT, step)
        planes = planes.permute(3, 6, 1, 0, 2, 4, 5, 7).contiguous()
        places = []
        for (down, top), (right, left) in product(_PLACES, repeat=2):
            places.append(planes[top, left, :, :, down : down + rows, :, right : right + columns])
        return torch.stack(places).view(_IN**2, -1)


def takes_winograd(module: nn.Conv2d) -> bool:
    """Whether `WinogradConv` can stand for a layer and is worth it (measured on a CPU in float32)."""
    return (
        module.kernel_size == (_KERNEL, _KERNEL)
        and module.stride == (1, 1)
        and module.groups == 1
        and module.padding_mode == "zeros"
        and module.dilation[0] == module.dilation[1]
        and module.padding == module.dilation
        and min(module.in_channels, module.out_channels) >= _WIDE
    )


def use_winograd(module: nn.Module) -> None:
    """Replace every wide 3x3 convolution below `module`, in place."""
    replace_convolutions(module, lambda found: WinogradConv(found) if takes_winograd(found) else found)
