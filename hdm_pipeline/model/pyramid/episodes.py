"""A batch of training episodes, slot by slot: which images are supports when it is whose turn to be the query."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hdm_pipeline.model.network import EpisodeBatch
from hdm_pipeline.model.pyramid.encoded_image import LevelFeatures, tokens
from hdm_pipeline.model.pyramid.encoding import unit
from hdm_pipeline.model.pyramid.evidence import LevelSupport
from hdm_pipeline.model.pyramid.labels import cell_shares, without_orphans
from hdm_pipeline.model.pyramid.matching import Tokens
from hdm_pipeline.model.pyramid.prototypes import systematic_sample
from hdm_pipeline.model.pyramid.ridge import Moments, RidgeRegression


@dataclass(frozen=True)
class Episodes:
    """A batch of which supports take their turn as query of the other images.

    Attributes:
        images: [slots * count, 3, H, W], slot by slot: the images that are queries in some turn come first.
        masks: [slots * count, H, W] uint8, likewise.
        count: episodes.
        turns: how many of the slots are queries, one after the other.
    """

    images: Tensor
    masks: Tensor
    count: int
    turns: int

    @classmethod
    def of(cls, batch: EpisodeBatch, *, queries: int) -> Episodes:
        """The slots of a batch, with as many turns as give at least so many queries, if there are so many images."""
        count, shots = batch.support_mask.shape[:2]
        return cls(
            images=torch.cat((batch.query, batch.support.transpose(0, 1).flatten(0, 1))),
            masks=torch.cat((batch.query_mask, batch.support_mask.transpose(0, 1).flatten(0, 1))),
            count=count,
            turns=min(shots + 1, max(1, round(queries / count))),
        )

    @property
    def queries(self) -> int:
        """How many images are a query in some turn."""
        return self.count * self.turns

    @property
    def targets(self) -> Tensor:
        """Masks [queries, H, W]; all ignored where no other image shows the target."""
        return without_orphans(self.masks.reshape(-1, self.count, *self.masks.shape[1:]), self.turns)

    def solve(
        self,
        features: LevelFeatures,
        stride: int,
        regression: RidgeRegression,
        *,
        drawn: int,
        matched: bool,
    ) -> LevelSupport:
        """The supports of each episode of each turn at one level, with gradient.

        Args:
            features: of all images, slot by slot.
            stride: of the level.
            regression: of the level.
            drawn: matching tokens of each class.
            matched: whether background tokens are matched, too.
        """
        slots = len(features.context) // self.count
        # [turns, slots]: which slots are supports when it is a slot's turn to be the query.
        roles = 1.0 - torch.eye(slots, device=features.regress.device)[: self.turns]
        shares = [share.flatten(1) for share in cell_shares(self.masks, stride)]
        with torch.autocast(features.regress.device.type, enabled=False):
            regress = tokens(features.regress)
            foreground, background = (Moments.of(regress, share).combine(roles, self.count) for share in shares)
            solution = regression(foreground, background)
        if features.match is None:
            return LevelSupport(solution, None)
        match = unit(tokens(features.match))
        match = match.reshape(slots, self.count, *match.shape[1:]).transpose(0, 1).flatten(1, 2)
        targets, others = (
            torch.cat([_sample(match, share.reshape(slots, self.count, -1), role, drawn) for role in roles])
            for share in shares
        )
        return LevelSupport(solution, Tokens(targets, others if matched else others[:, :0]))


def _sample(tokens: Tensor, shares: Tensor, role: Tensor, drawn: int) -> Tensor:
    """Training tokens [count, drawn, D] of tokens [count, slots * N, D], by shares [slots, count, N]."""
    weights = (shares * role[:, None, None]).transpose(0, 1).flatten(1)
    return systematic_sample(tokens, weights, drawn)
