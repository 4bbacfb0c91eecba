"""Adapted weights for arrays: what the pipeline and `evaluate` call, with a cache on disk.

The key of the cache is a hash of weights, examples, settings and seed. The number of threads, which moves last bits, is
not in it: who adapts first decides for all. An entry appears under its name complete or not at all, so that several
processes may share a folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hdm_pipeline.model.checkpoints import load_network, read_header, save_weights
from hdm_pipeline.model.network import FewShotNetwork
from hdm_pipeline.model.segmenter import three_channels
from hdm_pipeline.model.whole_image import Image, Mask, bounded_examples
from hdm_pipeline.support.adaptation import (
    AdaptationReport,
    AdaptationResult,
    AdaptationSettings,
    StepCallback,
    adapt_network,
)

VERSION = 1
"""Part of every key: raised whenever the same input would give other weights."""

_SIDE = 512
_MOST_CUTS = 12


@dataclass(frozen=True)
class AdaptedWeights:
    """Adapted weights on disk.

    Attributes:
        path: a safetensors file that `load_network` reads.
        report: what adaptation did, when it was done.
        cached: whether the file was there already.
    """

    path: Path
    report: AdaptationReport
    cached: bool


def adapt_to_examples(
    network: FewShotNetwork,
    images: Sequence[Image],
    masks: Sequence[Mask],
    *,
    settings: AdaptationSettings | None = None,
    seed: int = 0,
    on_step: StepCallback | None = None,
) -> AdaptationResult:
    """Adapt to arrays: K images [C, y, x] in 0..1 of one to three channels, K masks [y, x] of 1, 0 and 255.

    Large examples are cut, those parts first that show the most target, so that the time does not depend on their size.

    Raises:
        SupportError: no example shows the class.
        TrainingError: the loss is not finite.
    """
    most = max(1, _MOST_CUTS // max(1, len(images)))
    tensors, labels = as_tensors(*bounded_examples(images, masks, side=_SIDE, most=most))
    return adapt_network(network, tensors, labels, settings=settings, seed=seed, on_step=on_step)


def adapted_weights(
    cache_folder: Path,
    network: FewShotNetwork,
    images: Sequence[Image],
    masks: Sequence[Mask],
    *,
    settings: AdaptationSettings | None = None,
    seed: int = 0,
    on_step: StepCallback | None = None,
) -> AdaptedWeights:
    """Adapted weights from the cache, or adapt now and keep them there; arguments as in `adapt_to_examples`.

    Raises:
        SupportError: no example shows the class.
        TrainingError: the loss is not finite.
        WeightsError: the file cannot be written, or the one found is damaged.
    """
    chosen = settings or AdaptationSettings()
    path = cache_folder / f"adapted-{cache_key(network, images, masks, chosen, seed)[:32]}.safetensors"
    if path.is_file():
        report = AdaptationReport.from_json(read_header(path).info["adaptation"])
        return AdaptedWeights(path, report, cached=True)
    result = adapt_to_examples(network, images, masks, settings=chosen, seed=seed, on_step=on_step)
    note = {"adaptation": json.dumps(result.report.as_dict()), "adapted_from": network.fingerprint()}
    save_weights(result.network, path, info=note)
    return AdaptedWeights(path, result.report, cached=False)


def load_adapted(adapted: AdaptedWeights) -> FewShotNetwork:
    """The network of adapted weights."""
    return load_network(adapted.path)


def cache_key(
    network: FewShotNetwork, images: Sequence[Image], masks: Sequence[Mask], settings: AdaptationSettings, seed: int
) -> str:
    """SHA-256 (hex) of everything that adapted weights depend on."""
    digest = hashlib.sha256(network.fingerprint().encode())
    digest.update(json.dumps([VERSION, asdict(settings), seed], sort_keys=True).encode())
    arrays: list[npt.NDArray[Any]] = [*images, *masks]
    for array in arrays:
        digest.update(f"{array.dtype.str}:{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def as_tensors(images: Sequence[Image], masks: Sequence[Mask]) -> tuple[list[Tensor], list[Tensor]]:
    """Three-channel tensors [3, y, x] and mask tensors [y, x]; pixels that are not finite become 0 and ignored."""
    tensors, labels = [], []
    for image, mask in zip(images, masks, strict=True):
        finite = np.isfinite(image).all(axis=0)
        tensors.append(torch.from_numpy(three_channels(np.where(finite, image, 0.0)[None])[0]))
        labels.append(torch.from_numpy(np.where(finite, mask, 255).astype(np.uint8)))
    return tensors, labels
