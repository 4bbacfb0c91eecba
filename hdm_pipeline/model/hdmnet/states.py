"""What the published HDMNet remembers of a class and of a query, and what it answers.

`SupportState` depends only on the labelled examples, `QueryState` only on the query (docs/hdmnet.md, section 9). A
support bank is a `SupportState` as numpy arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hdm_pipeline.model.bank import BankCache, SupportBank
from hdm_pipeline.model.hdmnet.backbone import Features
from hdm_pipeline.model.hdmnet.base_learner import to_size
from hdm_pipeline.model.hdmnet.matching import PriorTokens, SupportTokens, join_levels, join_priors

Arrays = dict[str, npt.NDArray[Any]]

_STATES: BankCache[SupportState] = BankCache()


@dataclass(frozen=True)
class SupportState:
    """The support side of one class.

    Attributes:
        prototypes: [K, 256], one for each shot.
        priors: tokens of f5 and of f4.
        levels: matching tokens, finest level first.
        grams: [K, C, C] Gram matrices of f2.
        merged: the merged features [1, 64, h, w] of each shot, for inspection; not part of a bank.
    """

    prototypes: Tensor
    priors: tuple[PriorTokens, ...]
    levels: tuple[SupportTokens, ...]
    grams: Tensor
    merged: tuple[Tensor, ...] = field(default=(), repr=False)

    @property
    def shots(self) -> int:
        """Number of labelled examples."""
        return len(self.prototypes)

    @classmethod
    def join(cls, shots: Sequence[SupportState]) -> SupportState:
        """Several shots of one class, in order."""
        return cls(
            torch.cat([shot.prototypes for shot in shots]),
            tuple(join_priors(each) for each in zip(*(shot.priors for shot in shots), strict=True)),
            tuple(join_levels(each) for each in zip(*(shot.levels for shot in shots), strict=True)),
            torch.cat([shot.grams for shot in shots]),
            tuple(each for shot in shots for each in shot.merged),
        )

    def split(self) -> list[SupportState]:
        """Each shot by itself."""
        priors = [_split_prior(prior) for prior in self.priors]
        levels = [_split_level(level) for level in self.levels]
        return [
            SupportState(
                self.prototypes[k : k + 1],
                tuple(prior[k] for prior in priors),
                tuple(level[k] for level in levels),
                self.grams[k : k + 1],
            )
            for k in range(self.shots)
        ]

    def to_arrays(self) -> Arrays:
        """The arrays of a support bank."""
        arrays: dict[str, Tensor] = {"prototypes": self.prototypes, "grams": self.grams}
        for index, prior in enumerate(self.priors):
            arrays[f"prior{index}.tokens"] = prior.tokens
            arrays[f"prior{index}.counts"] = torch.tensor(prior.counts)
            arrays[f"prior{index}.clamped"] = torch.tensor(prior.clamped)
        for index, level in enumerate(self.levels):
            arrays[f"level{index}.keys"] = level.keys
            arrays[f"level{index}.values"] = level.values
            arrays[f"level{index}.weights"] = level.weights
            arrays[f"level{index}.counts"] = torch.tensor(level.counts)
        return {name: np.ascontiguousarray(tensor.detach().cpu().numpy()) for name, tensor in arrays.items()}

    def to(self, device: torch.device) -> SupportState:
        """The same state on a device."""
        return SupportState(
            self.prototypes.to(device),
            tuple(PriorTokens(prior.tokens.to(device), prior.counts, prior.clamped) for prior in self.priors),
            tuple(
                SupportTokens(level.keys.to(device), level.values.to(device), level.weights.to(device), level.counts)
                for level in self.levels
            ),
            self.grams.to(device),
        )

    @classmethod
    def from_bank(cls, bank: SupportBank, device: torch.device) -> SupportState:
        """The inverse of `to_arrays`; moved to a GPU once for as long as the bank lives.

        Raises:
            BankMismatchError: an array is missing.
        """
        return _STATES.get(bank, device, lambda: cls._read(bank, device))

    @classmethod
    def _read(cls, bank: SupportBank, device: torch.device) -> SupportState:
        def listed(name: str) -> tuple[Any, ...]:
            return tuple(bank.tensor(name, torch.device("cpu")).tolist())

        priors = tuple(
            PriorTokens(
                bank.tensor(f"prior{index}.tokens", device),
                listed(f"prior{index}.counts"),
                listed(f"prior{index}.clamped"),
            )
            for index in range(2)
        )
        levels = tuple(
            SupportTokens(
                bank.tensor(f"level{index}.keys", device),
                bank.tensor(f"level{index}.values", device),
                bank.tensor(f"level{index}.weights", device),
                listed(f"level{index}.counts"),
            )
            for index in range(3)
        )
        return cls(bank.tensor("prototypes", device), priors, levels, bank.tensor("grams", device))


@dataclass(frozen=True)
class QueryState:
    """The query side, shared by all classes.

    Attributes:
        size: (H, W) of the tiles.
        features: backbone features.
        reduced: [B, 256, h, w], `down_query` of f3 and f2.
        lengths: of f5 and f4 at each position, each [B, h * w].
        gram: [B, C, C] Gram matrix of f2; None without the base learner.
        base: [B, 1 + classes, h, w] logits of the base learner; None without it.
    """

    size: tuple[int, int]
    features: Features
    reduced: Tensor
    lengths: tuple[Tensor, Tensor]
    gram: Tensor | None
    base: Tensor | None

    def item(self, index: int) -> QueryState:
        """The state of one tile, batch dimension kept."""
        part = slice(index, index + 1)
        five, four = self.lengths
        return QueryState(
            self.size,
            self.features.item(index),
            self.reduced[part],
            (five[part], four[part]),
            None if self.gram is None else self.gram[part],
            None if self.base is None else self.base[part],
        )


@dataclass(frozen=True)
class Response:
    """The network's answer for one class, on the feature grid.

    Attributes:
        meta: [B, 2, h, w] logits of the matching.
        final: [B, 2, h, w] blended probabilities (not logits, not summing to 1); None without the base learner.
        weights: correlation maps [B, h', w'], coarsest first.
        similarity: [B, 2, h, w] prior from f5 and f4.
        est: [B] distance of query and supports; None without the base learner.
        merged: [B, 64, h, w], what enters the transformer.
    """

    meta: Tensor
    final: Tensor | None
    weights: list[Tensor]
    similarity: Tensor
    est: Tensor | None
    merged: Tensor


@dataclass(frozen=True)
class RawOutputs:
    """Everything the official forward computes, for a batch of episodes (docs/hdmnet.md, sections 1 and 10).

    Attributes:
        final_out, meta_out: [B, 2, H, W]; final_out holds blended probabilities, meta_out logits.
        base_out: [B, 1 + classes, H, W] logits; None without the base learner, as are final_out and est_val.
        meta_lowres, base_lowres: the same on the feature grid.
        weights: correlation maps [B, h', w'], coarsest first.
        similarity: [B, 2, h, w].
        est_val: [B].
        query_merged: [B, 64, h, w].
        support_merged: [B * n, 64, h, w].
    """

    final_out: Tensor | None
    meta_out: Tensor
    base_out: Tensor | None
    meta_lowres: Tensor
    base_lowres: Tensor | None
    weights: list[Tensor]
    similarity: Tensor
    est_val: Tensor | None
    query_merged: Tensor
    support_merged: Tensor

    @classmethod
    def gather(cls, responses: Sequence[Response], query: QueryState, merged: Sequence[Tensor]) -> RawOutputs:
        """Outputs at full size of the responses to each tile of a batch; `merged` are all supports' features."""
        meta = torch.cat([each.meta for each in responses])
        finals = [each.final for each in responses if each.final is not None]
        ests = [each.est for each in responses if each.est is not None]
        return cls(
            final_out=to_size(torch.cat(finals), query.size) if finals else None,
            meta_out=to_size(meta, query.size),
            base_out=None if query.base is None else to_size(query.base, query.size),
            meta_lowres=meta,
            base_lowres=query.base,
            weights=[torch.cat(level) for level in zip(*(each.weights for each in responses), strict=True)],
            similarity=torch.cat([each.similarity for each in responses]),
            est_val=torch.cat(ests) if ests else None,
            query_merged=torch.cat([each.merged for each in responses]),
            support_merged=torch.cat(list(merged)),
        )


def _split_prior(prior: PriorTokens) -> list[PriorTokens]:
    parts = torch.split(prior.tokens, list(prior.counts))
    return [
        PriorTokens(part, (count,), (clamped,))
        for part, count, clamped in zip(parts, prior.counts, prior.clamped, strict=True)
    ]


def _split_level(level: SupportTokens) -> list[SupportTokens]:
    parts = [torch.split(tensor, list(level.counts)) for tensor in (level.keys, level.values, level.weights)]
    return [SupportTokens(keys, values, weights, (len(keys),)) for keys, values, weights in zip(*parts, strict=True)]
