"""From support examples to what the model actors load: check, adapt, encode. Runs once, before the first scene."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hdm_pipeline.config.schema import AdaptSteps, PipelineConfig
from hdm_pipeline.contracts import Reader
from hdm_pipeline.hashing import stable_hash
from hdm_pipeline.model.weights_file import weights_path
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.support.bundle import ModelBundle, load_segmenter
from hdm_pipeline.support.examples import SupportExample, load_examples

if TYPE_CHECKING:
    from hdm_pipeline.model.network import FewShotNetwork
    from hdm_pipeline.model.segmenter import FewShotSegmenter
    from hdm_pipeline.support.fit import Fit


@dataclass(frozen=True)
class Preparation:
    """What preparing the supports gave.

    Attributes:
        bundle: for the model actors.
        support_hash: of all banks.
        weights_hash: of all (adapted) weights.
        report: by class: shots, reduction, mode of inference and what it was measured to do, quality of each example,
            what adaptation did, seconds; JSON-able.
    """

    bundle: ModelBundle
    support_hash: str
    weights_hash: str
    report: dict[str, Any]


def prepare(config: PipelineConfig, reader: Reader, workspace: Workspace) -> Preparation:
    """Read the supports, fit the network to them as far as asked for, and encode them.

    Raises:
        SupportError: an example cannot be used.
        WeightsError: the weights cannot be loaded.
    """
    from hdm_pipeline.model.checkpoints import load_network

    classes = load_examples(config, reader)
    base = str(weights_path(config.model.weights))
    network = load_network(base)
    weights, reductions, banks, report = [], [], [], {}
    for class_config, examples in zip(config.support.classes, classes, strict=True):
        start = time.perf_counter()
        fit = _fit(config, network, examples, config.support.adapt, workspace.models)
        chosen = base if fit.weights is None else str(fit.weights)
        segmenter = load_segmenter(chosen, config.model, fit.reduction)
        # Adapted weights have seen the examples and would flatter them.
        unadapted = segmenter if chosen == base else load_segmenter(base, config.model, fit.reduction)
        images, masks = [e.pixels for e in examples], [e.label for e in examples]
        banks.append(segmenter.encode_support(images, masks, class_name=class_config.name))
        weights.append(chosen)
        reductions.append(fit.reduction)
        report[class_config.name] = {
            "shots": len(examples),
            "reduction": round(fit.reduction, 3),
            "mode": _mode(segmenter),
            "examples": _quality(unadapted, examples),
            "adaptation": {"steps": 0, "reason": "off"}
            if fit.report is None
            else fit.report.as_dict() | {"cached": fit.cached},
            "seconds": round(time.perf_counter() - start, 3),
        }
    bundle = ModelBundle(
        weights=tuple(weights),
        banks=tuple(banks),
        reductions=tuple(reductions),
        batch_size=config.execution.batch_size,
        threads=config.execution.threads if isinstance(config.execution.threads, int) else None,
        model=config.model,
    )
    return Preparation(
        bundle=bundle,
        support_hash=stable_hash([bank.hash for bank in banks]),
        weights_hash=stable_hash([bank.weights_hash for bank in banks]),
        report=report,
    )


def check_supports(config: PipelineConfig, reader: Reader) -> dict[str, list[dict[str, Any]]]:
    """Leave-one-out quality of each support example by class, with the weights as they are.

    Raises:
        SupportError: an example cannot be used.
        WeightsError: the weights cannot be loaded.
    """
    from hdm_pipeline.model.checkpoints import load_network

    base = str(weights_path(config.model.weights))
    network = load_network(base)
    found = {}
    for class_config, examples in zip(config.support.classes, load_examples(config, reader), strict=True):
        reduction = _fit(config, network, examples, "off", None).reduction
        found[class_config.name] = _quality(load_segmenter(base, config.model, reduction), examples)
    return found


def _fit(
    config: PipelineConfig,
    network: FewShotNetwork,
    examples: Sequence[SupportExample],
    adapt: Literal["auto", "off"] | AdaptSteps,
    cache: Path | None,
) -> Fit:
    """The weights and the reduction for a class."""
    from hdm_pipeline.support.fit import fit_to_examples

    steps = adapt.steps or "off" if isinstance(adapt, AdaptSteps) else adapt
    return fit_to_examples(
        network,
        [e.pixels for e in examples],
        [e.label for e in examples],
        adapt=steps,
        reduction=None if config.model.reduction == "auto" else config.model.reduction,
        tile=config.tiling.size,
        cache=cache,
    )


def _mode(segmenter: FewShotSegmenter) -> dict[str, Any]:
    """The mode that a class's examples allow, with its speed and agreement where it is not fp32."""
    if not segmenter.reports:
        return {"precision": "fp32", "runtime": segmenter.runtime}
    return {name: round(v, 4) if isinstance(v, float) else v for name, v in segmenter.reports[-1].as_dict().items()}


def _quality(segmenter: FewShotSegmenter, examples: Sequence[SupportExample]) -> list[dict[str, Any]]:
    """Leave-one-out quality of examples."""
    from hdm_pipeline.support.quality import check_support

    images, masks = [e.pixels for e in examples], [e.label for e in examples]
    return [quality.as_dict() for quality in check_support(segmenter, images, masks, [e.name for e in examples])]
