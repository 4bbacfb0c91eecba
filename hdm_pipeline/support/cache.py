"""Adapted weights with a cache on disk: what was adapted once is found again.

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

import numpy as np
from torch import Tensor

from hdm_pipeline.model.checkpoints import load_network, read_header, save_weights
from hdm_pipeline.model.network import FewShotNetwork
from hdm_pipeline.model.support_tensors import windows
from hdm_pipeline.support.adaptation import AdaptationReport, AdaptationSettings, StepCallback, adapt_network

VERSION = 2
"""Part of every key: raised whenever the same input would give other weights."""

_SIDE = 256  # twice the largest crop; what the guard measures on is bounded by it, too
_MOST_CUTS = 12


@dataclass(frozen=True, eq=False)
class AdaptedWeights:
    """Adapted weights, as a network and on disk.

    Attributes:
        network: ready to segment; the one that came in where no step was kept.
        path: a safetensors file of the same weights, or None without a cache.
        report: what adaptation did, when it was done.
        cached: whether the file was there already.
    """

    network: FewShotNetwork
    path: Path | None
    report: AdaptationReport
    cached: bool


def adapted_weights(
    cache_folder: Path | None,
    network: FewShotNetwork,
    images: Sequence[Tensor],
    masks: Sequence[Tensor],
    *,
    settings: AdaptationSettings,
    seed: int = 0,
    on_step: StepCallback | None = None,
) -> AdaptedWeights:
    """Adapted weights from the cache, or adapt now and keep them there.

    Large examples are cut, those parts first that show the most target, so that the time does not depend on their size.

    Args:
        cache_folder: where adapted weights are kept, or None to keep them in memory.
        network: as in `adapt_network`, as are the others.
        images: K tensors [3, H, W] float32 in 0..1.
        masks: K tensors [H, W] uint8 of 1, 0 and 255.
        settings: how to adapt.
        seed: of the crops.
        on_step: as `StepCallback` says.

    Raises:
        SupportError: no example shows the class.
        TrainingError: the loss is not finite.
        WeightsError: the file cannot be written, or the one found is damaged.
    """
    path = None
    if cache_folder is not None:
        path = cache_folder / f"adapted-{cache_key(network, images, masks, settings, seed)[:32]}.safetensors"
        if path.is_file():
            report = AdaptationReport.from_json(read_header(path).info["adaptation"])
            return AdaptedWeights(load_network(path) if report.steps else network, path, report, cached=True)
    most = max(1, _MOST_CUTS // max(1, len(images)))
    parts = [
        (image[:, rows, columns], mask[rows, columns])
        for image, mask in zip(images, masks, strict=True)
        for rows, columns in windows(mask, _SIDE, most)
    ]
    result = adapt_network(
        network,
        [image for image, _ in parts],
        [mask for _, mask in parts],
        settings=settings,
        seed=seed,
        on_step=on_step,
    )
    if path is not None:
        note = {"adaptation": json.dumps(result.report.as_dict()), "adapted_from": network.fingerprint()}
        save_weights(result.network, path, info=note)
    return AdaptedWeights(result.network if result.report.steps else network, path, result.report, cached=False)


def cache_key(
    network: FewShotNetwork, images: Sequence[Tensor], masks: Sequence[Tensor], settings: AdaptationSettings, seed: int
) -> str:
    """SHA-256 (hex) of everything that adapted weights depend on."""
    digest = hashlib.sha256(network.fingerprint().encode())
    digest.update(json.dumps([VERSION, asdict(settings), seed], sort_keys=True).encode())
    for tensor in (*images, *masks):
        array = np.ascontiguousarray(tensor.numpy())
        digest.update(f"{array.dtype.str}:{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
