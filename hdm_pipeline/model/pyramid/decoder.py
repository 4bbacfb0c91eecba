"""Coarse-to-fine decoder: evidence maps and query features in, logits at every level out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hdm_pipeline.model.pyramid.fused import added, rectified
from hdm_pipeline.model.pyramid.layers import ResidualBlock, resize
from hdm_pipeline.model.pyramid.ridge import CHANNELS

ODDS = 1
"""The evidence channel that holds the ridge regression's log odds: where the untrained decoder's logits come from."""

_CONTEXT_ODDS = 2.0  # the same for pretrained features; the untrained sum of both already beats either

_CARRIED = 32  # channels of the state that go up to the next finer level


class Decoder(nn.Module):
    """Refines a state from the coarsest to the finest level; every level reads its own logits from it.

    Args:
        feature_widths: channels of the query features, finest level first.
        evidence_widths: channels of the evidence maps, finest first.
        state_widths: channels of the decoder's state, finest first.
        guides: channels that the query features are reduced to; few, so that evidence and not appearance decides.
        contextual: whether evidence of pretrained features is read at every level besides.
    """

    def __init__(
        self,
        feature_widths: Sequence[int],
        evidence_widths: Sequence[int],
        state_widths: Sequence[int],
        guides: Sequence[int],
        *,
        contextual: bool = False,
    ) -> None:
        super().__init__()
        last = len(state_widths) - 1
        self.guides = nn.ModuleList(
            nn.Conv2d(width, guide, 1) for width, guide in zip(feature_widths, guides, strict=True)
        )
        self.carry = nn.ModuleList(nn.Conv2d(width, _CARRIED, 1) for width in state_widths[1:])
        self.enter = nn.ModuleList(
            nn.Conv2d(evidence + guide + (_CARRIED if level < last else 0), state, 3, padding=1)
            for level, (evidence, guide, state) in enumerate(zip(evidence_widths, guides, state_widths, strict=True))
        )
        self.refine = nn.ModuleList(ResidualBlock(state) for state in state_widths)
        self.heads = nn.ModuleList(nn.Conv2d(state, 1, 1) for state in state_widths)
        shortcuts = [nn.Conv2d(width, 1, 1, bias=False) for width in evidence_widths]
        self.shortcut = nn.ModuleList(shortcuts)
        self.pixels = nn.Conv2d(state_widths[0], 4, 3, padding=1)
        for layer in (*self.heads, self.pixels):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        for shortcut in shortcuts:
            nn.init.zeros_(shortcut.weight)
            nn.init.constant_(shortcut.weight[:, ODDS], 2.0)
        self.context = nn.ModuleList(ContextReader(width) for width in state_widths) if contextual else None

    def forward(
        self,
        features: Sequence[Tensor],
        evidence: Sequence[Tensor],
        finest: int = 0,
        context: Tensor | None = None,
    ) -> list[Tensor]:
        """Logits, finest first.

        Args:
            features: maps [B, C_i, H_i, W_i] of the levels from `finest` on, finest first.
            evidence: maps [B, E_i, H_i, W_i] of the same levels.
            finest: the level to stop at; beyond 0 the full resolution is interpolated from its logits.
            context: evidence maps [B, 3, H, W] of pretrained features at any resolution, where `contextual`.

        Returns:
            [B, 1, 2 * H_0, 2 * W_0], the full resolution, and then [B, 1, H_i, W_i] for each level.
        """
        logits: list[Tensor] = []
        state: Tensor | None = None
        pixels: Tensor | None = None
        for level in range(len(self.enter) - 1, finest - 1, -1):
            found = evidence[level - finest]
            parts = [found, rectified(self.guides[level], features[level - finest])]
            if state is not None:
                parts.append(resize(self.carry[level](state), (parts[0].shape[-2], parts[0].shape[-1])))
            entering, direct = torch.cat(parts, dim=1), self.shortcut[level](found)
            if self.context is None or context is None:
                state = self.refine[level](rectified(self.enter[level], entering))
            else:
                more, odds = self.context[level](resize(context, (found.shape[-2], found.shape[-1])))
                state = self.refine[level](added(self.enter[level], entering, more, relu=True))
                direct = direct + odds
            if level > 0:
                logits.insert(0, self.heads[level](state) + direct)
            else:
                finest_logits = self._finest(state)
                logits.insert(0, finest_logits[:, :1] + direct)
                pixels = finest_logits[:, 1:]
        scale = 2 ** (finest + 1)
        full = resize(logits[0], (scale * logits[0].shape[-2], scale * logits[0].shape[-1]))
        return [full if pixels is None else full + F.pixel_shuffle(pixels, 2), *logits]

    def _finest(self, state: Tensor) -> Tensor:
        """The finest level's head and its four pixels, [B, 5, H, W], in one pass: few channels fill no register."""
        layers = (self.heads[0].get_parameter, self.pixels.get_parameter)
        head, pixels = (parameter("weight") for parameter in layers)
        weight = torch.cat((F.pad(head, (1, 1, 1, 1)), pixels))
        return F.conv2d(state, weight, torch.cat([parameter("bias") for parameter in layers]), padding=1)


class ContextReader(nn.Module):
    """What one level takes of the pretrained features' evidence: a share of its state, and of its logits.

    Args:
        width: channels of the level's state.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(CHANNELS, width, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(CHANNELS, 1, 1, bias=False)
        nn.init.zeros_(self.enter.weight)
        nn.init.zeros_(self.shortcut.weight)
        nn.init.constant_(self.shortcut.weight[:, ODDS], _CONTEXT_ODDS)

    def forward(self, evidence: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, H, W] to what is added to the state [B, width, H, W] and to the logits [B, 1, H, W]."""
        return self.enter(evidence), self.shortcut(evidence)
