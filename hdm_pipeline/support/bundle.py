"""What a model actor loads: support banks and the names of the weights that made them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hdm_pipeline.config.schema import ModelConfig
from hdm_pipeline.model.bank import SupportBank

if TYPE_CHECKING:
    from hdm_pipeline.model.segmenter import FewShotSegmenter


@dataclass(frozen=True)
class ModelBundle:
    """What a model actor loads: broadcast once.

    Attributes:
        weights: path (or builtin name) of the weights for each class.
        banks: the support bank of each class, in the order of the mask values.
        reductions: for each class, how much smaller the network sees the pixels.
        model: precision, runtime and the like.
        batch_size: tiles a batch.
        threads: CPU threads of the actor; None leaves torch's default.
    """

    weights: tuple[str, ...]
    banks: tuple[SupportBank, ...]
    reductions: tuple[float, ...]
    model: ModelConfig
    batch_size: int
    threads: int | None = None


def load_segmenter(weights: str, model: ModelConfig, reduction: float = 1.0) -> FewShotSegmenter:
    """Weights made ready as the pipeline file asks, at a reduction."""
    from hdm_pipeline.model.segmenter import FewShotSegmenter

    return FewShotSegmenter.load(
        weights,
        precision=model.precision,
        runtime=model.runtime,
        base_learner=model.base_learner,
        reduction=reduction,
    )
