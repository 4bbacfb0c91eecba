"""Supports to the arrays of a bank, and back to tensors.

What a bank holds of a level is bounded: the solved regression (a vector and three numbers) and at most a fixed number
of tokens of each class. So neither its size nor the cost of a query grows with the number of shots.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from hdm_pipeline.errors import BankMismatchError
from hdm_pipeline.model.bank import BankCache, SupportBank
from hdm_pipeline.model.pyramid.evidence import LevelEvidence, LevelSupport
from hdm_pipeline.model.pyramid.matching import Tokens
from hdm_pipeline.model.pyramid.prototypes import condense, systematic_index
from hdm_pipeline.model.pyramid.ridge import Moments, RidgeSolution

Arrays = dict[str, npt.NDArray[np.float32]]

_CANDIDATES = 4096  # tokens of each support and class that condensation looks at
_TENSORS: BankCache[dict[str, Tensor]] = BankCache()


@dataclass(frozen=True)
class SupportFeatures:
    """One support image at one level.

    Attributes:
        regress: [N, D + 1] regression features of all positions.
        match: [N, D] matching features of unit length, or None at levels that do not match.
        foreground: [N] share of target.
        background: [N] share of background.
        fair: whether the labels are a fair sample of the image: how many are target says how large it is.
    """

    regress: Tensor
    match: Tensor | None
    foreground: Tensor
    background: Tensor
    fair: bool = True

    @cached_property
    def moments(self) -> tuple[Moments, Moments]:
        """Of target and of background; kept, because each support may be summed up with several others."""
        regress = self.regress.unsqueeze(0)
        return (
            Moments.of(regress, self.foreground.unsqueeze(0)),
            Moments.of(regress, self.background.unsqueeze(0)),
        )


class LevelAccumulator:
    """Collects the supports of one level, one at a time, so that their sizes may differ and memory stays small.

    Args:
        first: the first support.
        background: keep background tokens too.
    """

    def __init__(self, first: SupportFeatures, *, background: bool) -> None:
        self._background = background
        self._foreground_tokens: list[Tensor] = []
        self._background_tokens: list[Tensor] = []
        self._moments = first.moments
        self._fair = _fair_weights(first)
        self._add_tokens(first)

    def add(self, support: SupportFeatures) -> None:
        """Add another support."""
        foreground, background = support.moments
        self._moments = (self._moments[0] + foreground, self._moments[1] + background)
        self._fair = self._fair + _fair_weights(support)
        self._add_tokens(support)

    def solved(self, evidence: LevelEvidence, prototypes: int) -> LevelSupport:
        """What a query is compared with, a batch of one, with at most `prototypes` tokens of each class."""
        solution = evidence.regression(*self._moments, shares=self._fair)
        if not self._foreground_tokens:
            return LevelSupport(solution, None)
        foreground = condense(torch.cat(self._foreground_tokens), prototypes)
        others = self._background_tokens
        background = condense(torch.cat(others), prototypes) if others else foreground[:0]
        return LevelSupport(solution, Tokens(foreground[None], background[None]))

    def arrays(self, evidence: LevelEvidence, prototypes: int) -> Arrays:
        """`solved` as a bank keeps it."""
        found = self.solved(evidence, prototypes)
        tensors = {"coefficients": found.solution.coefficients, "calibration": found.solution.calibration}
        if found.tokens is not None:
            tensors["foreground"] = found.tokens.foreground
            if found.tokens.background.shape[1]:
                tensors["background"] = found.tokens.background
        return {name: tensor[0].detach().float().cpu().numpy() for name, tensor in tensors.items()}

    def _add_tokens(self, support: SupportFeatures) -> None:
        if support.match is None:
            return
        self._foreground_tokens += _candidates(support.match, support.foreground)
        if self._background:
            self._background_tokens += _candidates(support.match, support.background)


def _fair_weights(support: SupportFeatures) -> Tensor:
    """[2] total shares of target and background, for the prior: nothing where the labels are no fair sample."""
    found = torch.stack((support.foreground.sum(), support.background.sum()))
    return found if support.fair else torch.zeros_like(found)


def _candidates(tokens: Tensor, weights: Tensor) -> list[Tensor]:
    """The tokens of a class, evenly thinned; none where the image shows nothing of it."""
    present = int((weights > 0).sum())
    if not present:
        return []
    index = systematic_index(weights.unsqueeze(0), min(_CANDIDATES, present))
    return [tokens[torch.unique(index[0])]]


def name_arrays(levels: Mapping[int, Arrays]) -> Arrays:
    """The arrays of all levels under one name each."""
    return {f"level{level}.{name}": array for level, arrays in levels.items() for name, array in arrays.items()}


def read_level(bank: SupportBank, level: int, batch: int, device: torch.device) -> LevelSupport:
    """One level of a bank as tensors, repeated (without copies) for a batch of queries.

    The tensors are made once for as long as the bank lives: a GPU gets them a single time.

    Args:
        bank: of this architecture.
        level: number of the level, 0 for the finest.
        batch: number of queries.
        device: where the queries are.

    Raises:
        BankMismatchError: the bank lacks arrays of this level.
    """
    found = _TENSORS.get(bank, (level, device), lambda: _tensors(bank, f"level{level}.", device))
    repeated = {name: value.unsqueeze(0).expand(batch, *value.shape) for name, value in found.items()}
    if not {"coefficients", "calibration"} <= set(repeated):
        raise BankMismatchError(
            f"support bank lacks the regression of level {level}",
            where=f"class {bank.class_name!r}",
            remedy="encode the supports again",
        )
    solution = RidgeSolution(repeated["coefficients"], repeated["calibration"])
    foreground = repeated.get("foreground")
    if foreground is None:
        return LevelSupport(solution, None)
    background = repeated.get("background", foreground[:, :0])
    return LevelSupport(solution, Tokens(foreground, background))


def _tensors(bank: SupportBank, prefix: str, device: torch.device) -> dict[str, Tensor]:
    names = [name for name in bank.arrays if name.startswith(prefix)]
    return {name.removeprefix(prefix): bank.tensor(name, device) for name in names}


def unit(features: Tensor) -> Tensor:
    """[..., D] to unit length."""
    return F.normalize(features, dim=-1)
