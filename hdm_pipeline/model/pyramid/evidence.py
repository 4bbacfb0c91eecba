"""What one level of the pyramid asks of the supports, and what it answers for a query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hdm_pipeline.model.pyramid import matching, ridge
from hdm_pipeline.model.pyramid.backbone import STATISTICS
from hdm_pipeline.model.pyramid.fused import added, rectified
from hdm_pipeline.model.pyramid.layers import ChannelNorm, resize

_SUBPIXELS = 12  # three bands of the four pixels of a position at stride 2


@dataclass(frozen=True)
class LevelSupport:
    """The supports at one level: the solved regression and, at matching levels, the tokens."""

    solution: ridge.RidgeSolution
    tokens: matching.Tokens | None


class EvidenceHead(nn.Module):
    """Projects a level's features to the space of the regression and, at matching levels, to that of the matching.

    Args:
        channels: channels of what comes in.
        width: width of both spaces.
        matches: whether this level matches tokens as well.
    """

    def __init__(self, channels: int, width: int, *, matches: bool) -> None:
        super().__init__()
        self.matches = matches
        self.norm = ChannelNorm(channels)
        self.hidden = nn.Conv2d(channels, 2 * width, 1)
        self.project = nn.Conv2d(2 * width, width * (2 if matches else 1), 1)
        self.scale = nn.LayerNorm(width)
        self.width = width

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """[B, C, H, W] to regression features [B, width + 1, H, W], the last one constant, and matching features."""
        return self.spread(rectified(self.hidden, self.norm(x)))

    def spread(self, hidden: Tensor) -> tuple[Tensor, Tensor | None]:
        """From the rectified hidden layer [B, 2 * width, H, W] on."""
        projected = self.project(hidden).float()
        regress, *match = projected.split(self.width, dim=1)
        regress = self.scale(regress.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        regress = torch.cat((regress, torch.ones_like(regress[:, :1])), dim=1)
        return regress, (match[0] if match else None)


class PixelEvidenceHead(EvidenceHead):
    """The finest level's head: it sees its features and the raw statistics of cells of all sizes around a position.

    These are the features that make pixel classifiers strong; here a rectified layer of them is regressed upon.

    Args:
        channels: channels of the level.
        width: width of the regression space.
        levels: cell sizes: 2, 4, ... 2 ** `levels` pixels.
    """

    def __init__(self, channels: int, width: int, levels: int) -> None:
        super().__init__(channels, width, matches=False)
        self.pixels = nn.Conv2d(_SUBPIXELS, 2 * width, 1, bias=False)
        self.cells = nn.ModuleList(nn.Conv2d(STATISTICS, 2 * width, 3, padding=1, bias=False) for _ in range(levels))

    def forward_with_pixels(self, x: Tensor, images: Tensor, cells: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """As `forward`, with what the features [B, C, H, W] come from.

        Args:
            x: the features.
            images: [B, 3, 2 * H, 2 * W].
            cells: `cell_statistics` of the images, for at least this head's levels.
        """
        hidden: Tensor | None = None
        # From the coarsest cells to the finest: each step doubles a map that all coarser cells have been added to.
        for convolution, statistics in reversed(list(zip(self.cells, cells, strict=False))):
            if hidden is None:
                hidden = convolution(statistics)
            else:
                hidden = added(convolution, statistics, resize(hidden, (statistics.shape[-2], statistics.shape[-1])))
        pixels = F.pixel_unshuffle(images, 2)
        fine = self.pixels(pixels) if hidden is None else added(self.pixels, pixels, hidden)
        return self.spread(added(self.hidden, self.norm(x), fine, relu=True))


class LevelEvidence(nn.Module):
    """The closed-form regression and the cosine matching of one level.

    Args:
        matches: whether this level matches tokens; the finest does not, the regression is enough and far cheaper.
        log_penalty: where the logarithm of the regression's penalty starts.
    """

    def __init__(self, *, matches: bool, log_penalty: float = -2.0) -> None:
        super().__init__()
        self.regression = ridge.RidgeRegression(log_penalty)
        self.matching = matching.CosineMatching() if matches else None

    @property
    def channels(self) -> int:
        """Number of evidence maps: score, log odds, prior and, at matching levels, four correlations."""
        return ridge.CHANNELS + (matching.CHANNELS if self.matching is not None else 0)

    def forward(self, regress: Tensor, match: Tensor | None, support: LevelSupport) -> Tensor:
        """Evidence maps [B, channels, H, W] of a query's features."""
        maps = support.solution.evidence(regress)
        if self.matching is None or match is None or support.tokens is None:
            return maps
        return torch.cat((maps, self.matching(match, support.tokens)), dim=1)
