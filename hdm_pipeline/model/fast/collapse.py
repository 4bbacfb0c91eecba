"""Three convolutions without an activation between them are one.

The decoder's parse layers and head are 1x1, 3x3, 1x1 with batch norms and nothing else in between (docs/hdmnet.md,
section 4): a single 3x3 convolution, sixteen times cheaper, once the batch norms are folded.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hdm_pipeline.model.fast.convolutions import bias_of
from hdm_pipeline.model.fast.extractors import fold_batch_norms
from hdm_pipeline.model.hdmnet.decoder import MixTransformer


class CollapsedConv(nn.Module):
    """A 3x3 convolution of the input and a channel of ones.

    The inner 3x3 pads what comes out of the first 1x1, bias included, with zeros. A constant channel carries that bias,
    and is padded with zeros likewise, so that borders come out right, too.
    """

    def __init__(self, first: nn.Conv2d, middle: nn.Conv2d, last: nn.Conv2d) -> None:
        super().__init__()
        entry = torch.cat([first.weight[:, :, 0, 0], bias_of(first)[:, None]], 1).double()
        leave = last.weight[:, :, 0, 0].double()
        weight = torch.einsum("om,mnuv,ni->oiuv", leave, middle.weight.double(), entry)
        bias = leave @ bias_of(middle).double() + bias_of(last).double()
        self.conv = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
        with torch.no_grad():
            self.conv.weight.copy_(weight)
            self.conv.bias.copy_(bias)  # type: ignore[union-attr]
        self.conv.to(first.weight.device)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] to [B, out, h, w]."""
        out: Tensor = self.conv(torch.cat([x, torch.ones_like(x[:, :1])], 1))
        return out


def collapse_linear(layers: nn.Sequential) -> nn.Sequential:
    """A sequence of three convolutions (1x1, 3x3, 1x1, batch norms folded) and whatever follows them, collapsed."""
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    first, middle, last = convolutions
    follows = [layer for layer in list(layers)[list(layers).index(last) + 1 :] if not isinstance(layer, nn.Identity)]
    return nn.Sequential(CollapsedConv(first, middle, last), *follows)


def collapse_decoder(transformer: MixTransformer) -> None:
    """Fold the decoder's batch norms and collapse what is linear, in place; exact up to rounding."""
    fold_batch_norms(transformer)
    transformer.parse_layers = nn.ModuleList(collapse_linear(layer) for layer in transformer.parse_sequences())
    transformer.cls = collapse_linear(transformer.cls)
