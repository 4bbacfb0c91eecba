"""Features learned on ImageNet, under the pyramid: context for its levels, and a regression of their own.

The backbone is frozen, unless a training tunes it (`network.tune_backbone`). What it gives enters in two ways. Adapters
add it to what the pyramid's own backbone found at each level; they start at zero, and the own backbone never sees it,
so that it need not be trained again. And the features themselves are regressed upon as they are: a linear rule on them
is right where the trained network is wrong, and the other way round (docs/decisions/pretrained-backbone.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hdm_pipeline.model.pyramid.efficientnet_lite import STRIDES, EfficientNetLite, Variant
from hdm_pipeline.model.pyramid.layers import ChannelNorm, resize

STAGES = (1, 2, 4, 5)
"""The stages that are used: the last ones at strides 4, 8, 16 and 32."""

REGRESSED = (1, 2, 3)
"""Which of `STAGES` are regressed upon."""

STRIDE = STRIDES[STAGES[REGRESSED[0]]]
"""Stride of the regression features: that of the finest of their stages."""


class PretrainedContext(nn.Module):
    """An EfficientNet-Lite, frozen as it is made, with an adapter for each level from stride 4 on.

    Args:
        variant: size of the backbone.
        widths: channels of the pyramid's levels from stride 4 on: up to four.
    """

    def __init__(self, variant: Variant, widths: Sequence[int]) -> None:
        super().__init__()
        self.backbone = EfficientNetLite(variant, STAGES[-1] + 1).requires_grad_(False)
        found = [self.backbone.widths[stage] for stage in STAGES]
        self.norms = nn.ModuleList(ChannelNorm(c_in) for c_in, _ in zip(found, widths, strict=False))
        adapters = [nn.Conv2d(c_in, c_out, 1) for c_in, c_out in zip(found, widths, strict=False)]
        for adapter in adapters:
            nn.init.zeros_(adapter.weight)
            if adapter.bias is not None:
                nn.init.zeros_(adapter.bias)
        self.adapters = nn.ModuleList(adapters)
        self.scales = nn.ParameterList(torch.ones(found[i]) for i in REGRESSED)

    def forward(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """What is added to the levels from stride 4 on, and regression features [B, D + 1, H / 8, W / 8].

        Args:
            images: [B, 3, H, W] in [0, 1], H and W multiples of 32.
        """
        maps = self.backbone(images, STAGES)
        added = [adapter(norm(x)) for norm, adapter, x in zip(self.norms, self.adapters, maps, strict=False)]
        return added, self._regressed(maps)

    def enlarged(self, images: Tensor, scale: int) -> Tensor:
        """Regression features [B, D + 1, scale * H / 8, scale * W / 8] of images that are enlarged first."""
        larger = F.interpolate(images, scale_factor=scale, mode="bilinear", align_corners=False)
        return self._regressed(self.backbone(larger, STAGES))

    def _regressed(self, maps: Sequence[Tensor]) -> Tensor:
        kept = [self._scaled(maps[i], scale) for i, scale in zip(REGRESSED, self.scales, strict=True)]
        size = (kept[0].shape[-2], kept[0].shape[-1])
        return torch.cat([*(resize(x, size) for x in kept), torch.ones_like(kept[0][:, :1])], dim=1)

    @staticmethod
    def _scaled(x: Tensor, scale: Tensor) -> Tensor:
        """Normalized over the channels of each position, then weighed by channel: what the penalty spares."""
        normed = F.layer_norm(x.permute(0, 2, 3, 1).float(), (x.shape[1],)) * scale
        return normed.permute(0, 3, 1, 2)
