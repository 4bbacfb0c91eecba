"""The keys of a scene: hashes of all that its pixels depend on, by which finished work is found again. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.contracts import SceneRef
from hdm_pipeline.hashing import hash_of_hash, hash_of_texts, stable_hash
from hdm_pipeline.plugin.registry import not_pixels

PIXELS_VERSION = 4
"""Raised whenever a release changes pixels for the same input; part of every key, so that old work is redone."""


@dataclass(frozen=True)
class Fingerprints:
    """Hashes of what the configuration points at.

    Attributes:
        weights: SHA-256 of the weights file.
        supports: hash of the support examples' files and values, by class.
        aoi: hash of the area of interest; empty without one.
    """

    weights: str
    supports: str
    aoi: str = ""


class SceneKeys(NamedTuple):
    """What decides whether work on a scene is done already (docs/architecture.md, "What it promises").

    Each key contains the one before: changed pixels redo everything, a changed threshold only the products.

    Attributes:
        stage: input identity, reader, bands, scaling, grid.
        score: stage key, weights, supports, adaptation, precision, batches.
        product: score key, threshold, classes as written, products and their options.
        uncertain: work under the score key holds uncertainties beside the scores.
    """

    stage: str
    score: str
    product: str
    uncertain: bool = False


@dataclass(frozen=True, slots=True)
class PendingScene:
    """A scene that is to be worked on.

    Attributes:
        ref: the scene.
        keys: what its work is filed under.
    """

    ref: SceneRef
    keys: SceneKeys


_MODEL_FIELDS = {"precision", "runtime", "base_learner", "reduction", "augment"}
"""What of `model` changes scores, apart from the weights."""


def _model(config: PipelineConfig) -> dict[str, Any]:
    """What of `model` changes scores; what is not used is not named, so that work from before it existed is found."""
    plain = {"augment"} if config.model.augment == "none" else set()
    return config.model.model_dump(mode="json", include=_MODEL_FIELDS - plain)


_INPUT_FIELDS = {"reader", "bands", "scale", "options"}


def _input(config: PipelineConfig) -> dict[str, Any]:
    """What of `input` changes pixels; options that the reader says do not (how a PACS is reached) are not named."""
    found: dict[str, Any] = config.input.model_dump(mode="json", include=_INPUT_FIELDS)
    unseen = set(found["options"]) & set(not_pixels(config.input.reader)) if found["options"] else set()
    return {**found, "options": {k: v for k, v in found["options"].items() if k not in unseen}} if unseen else found


def pixel_hash(config: PipelineConfig) -> str:
    """Hash of the configuration that affects pixels, whatever the scene; stamped into products."""
    return stable_hash(
        {
            "version": PIXELS_VERSION,
            "input": _input(config),
            "tiling": config.tiling.model_dump(mode="json"),
            "support": config.support.model_dump(mode="json", include={"adapt"}),
            "model": _model(config),
        }
    )


class SceneKeyring:
    """Makes the keys of scenes; what all scenes of a run share is hashed once.

    Args:
        config: the pipeline.
        fingerprints: of the files that it points at.
        uncertain: a product needs the uncertainty of the scores; kept as an attribute.
    """

    def __init__(self, config: PipelineConfig, fingerprints: Fingerprints, *, uncertain: bool = False) -> None:
        self.uncertain = uncertain
        support = config.support
        self._stage = stable_hash(
            {
                "version": PIXELS_VERSION,
                "input": _input(config),
                "aoi": fingerprints.aoi,
                "tiling": config.tiling.model_dump(mode="json"),
            }
        )
        self._score = stable_hash(
            {
                "weights": fingerprints.weights,
                "supports": fingerprints.supports,
                "adapt": support.model_dump(mode="json", include={"adapt"}),
                "model": _model(config),
                "batch": config.execution.batch_size,
            }
        )
        self._product = stable_hash(
            {
                "classes": [c.model_dump(mode="json", include={"name", "color", "codes"}) for c in support.classes],
                "threshold": config.output.threshold,
                "calibrate": support.calibrate,
                "products": config.output.product_options(),
                "name": config.name,
            }
        )

    def keys(self, ref: SceneRef, kept: str = "") -> SceneKeys:
        """The keys of one scene.

        Args:
            ref: the scene.
            kept: score key of work on it that is kept. Where that holds uncertainties that are no longer asked for, it
                serves as well as work without them.
        """
        stage = hash_of_texts(self._stage, ref.id, ref.identity)
        score = hash_of_hash(self._score, stage)
        uncertain = self.uncertain
        if uncertain or kept not in ("", score):
            both = hash_of_hash("uncertainty", score)
            uncertain = uncertain or kept == both
            score = both if uncertain else score
        return SceneKeys(stage, score, hash_of_hash(self._product, score), uncertain)
