"""What a support bank carries for images of more than three bands, and what it makes of a network's answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hdm_pipeline.errors import BankMismatchError, ModelInputError, counted
from hdm_pipeline.model.bands.evidence import BandEvidence
from hdm_pipeline.model.bands.projection import BandProjection
from hdm_pipeline.model.bank import SupportBank

DEFAULT_WEIGHT = 0.25
"""Share of the bands' log odds that is added to the network's, unless held-out examples say otherwise."""

_PREFIX = "bands."
_LEAST_PROBABILITY = 1 / 512  # a score is one of 256: beyond that its log odds are not known
_BYTES_PER_BAND = 40  # a pixel: the band, its masked copy, its square, cells and scratch, in float32


@dataclass(frozen=True, eq=False)
class ClassBands:
    """What one class knows of the bands: how they become channels, a rule on all of them, and how much that counts."""

    projection: BandProjection
    evidence: BandEvidence
    weight: float = DEFAULT_WEIGHT

    def attach(self, bank: SupportBank) -> SupportBank:
        """The bank with this inside."""
        numbers = [self.evidence.offset, self.evidence.slope, self.weight]
        found = {
            "matrix": self.projection.matrix,
            "offset": self.projection.offset,
            "coefficients": self.evidence.coefficients,
            "numbers": np.array(numbers, np.float32),
        }
        return dataclasses.replace(bank, arrays={**bank.arrays, **{_PREFIX + name: a for name, a in found.items()}})

    def combined(self, probability: Tensor, bands: Tensor, valid: Tensor) -> Tensor:
        """The network's probability [B, H, W] of the class with the evidence of the bands; see `ManyBands.combine`."""
        if not self.weight or not self.evidence.slope:
            return probability
        odds = probability.clamp(_LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY).logit()
        return (odds + self.weight * self.evidence.log_odds(bands, valid)).sigmoid()

    @classmethod
    def of(cls, bank: SupportBank) -> ClassBands | None:
        """What a bank holds; None where its examples have up to three bands."""
        arrays = {n.removeprefix(_PREFIX): array for n, array in bank.arrays.items() if n.startswith(_PREFIX)}
        if not arrays:
            return None
        missing = {"matrix", "offset", "coefficients", "numbers"} - set(arrays)
        if missing:
            raise BankMismatchError(
                f"support bank lacks {', '.join(sorted(missing))} of its bands",
                where=f"class {bank.class_name!r}",
                remedy="encode the supports again",
            )
        offset, slope, weight = (float(number) for number in arrays["numbers"])
        projection = BandProjection(arrays["matrix"], arrays["offset"])
        return cls(projection, BandEvidence(arrays["coefficients"], offset, slope), weight)


@dataclass(frozen=True, eq=False)
class ManyBands:
    """The bands' part in a prediction: one projection for all classes, a rule for each."""

    projection: BandProjection
    classes: tuple[ClassBands, ...]

    @classmethod
    def of(cls, banks: Sequence[SupportBank], channels: int) -> ManyBands | None:
        """What the banks of a prediction hold together; None where their examples have up to three bands.

        Args:
            banks: one of each class.
            channels: of the tiles.

        Raises:
            BankMismatchError: the classes were encoded with different projections, or only some of them with any.
            ModelInputError: the tiles have another number of bands than the examples.
        """
        found = [ClassBands.of(bank) for bank in banks]
        classes = tuple(each for each in found if each is not None)
        if not classes:
            return None
        first = classes[0].projection
        if len(classes) < len(found) or not all(first.equals(each.projection) for each in classes):
            raise BankMismatchError(
                "the classes' examples were brought to three channels in different ways",
                where=", ".join(repr(bank.class_name) for bank in banks),
                remedy="encode every class with one projection, fitted to the examples of all (`fit_projection`)",
            )
        if channels != first.bands:
            raise ModelInputError(
                f"tiles have {counted(channels, 'band')}, the examples {first.bands}",
                where="predict",
                remedy="give tiles and examples the same bands in the same order",
            )
        return cls(first, classes)

    @property
    def bytes_per_pixel(self) -> int:
        """Upper estimate of the memory that the bands take besides the network."""
        return _BYTES_PER_BAND * self.projection.bands

    def combine(self, probabilities: Tensor, bands: Tensor, valid: Tensor) -> Tensor:
        """The network's probabilities [B, classes, H, W] with the evidence of the bands.

        Args:
            probabilities: at full size.
            bands: [B, N, H, W] in 0..1.
            valid: [B, H, W] bool.
        """
        maps = [each.combined(probabilities[:, i], bands, valid) for i, each in enumerate(self.classes)]
        return torch.stack(maps, dim=1)
