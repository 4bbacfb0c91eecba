"""From support examples to what the model actors get: fit, encode, judge. Runs once, before the first scene.

The weights file is parsed once, here. The network that is fitted to the examples is the one that encodes them, and in
this process also the one that segments; another process (a Ray actor) loads the same weights and checks their
fingerprint against the bank's.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hdm_pipeline.config.schema import AdaptSteps, PipelineConfig
from hdm_pipeline.contracts import Reader
from hdm_pipeline.hashing import stable_hash
from hdm_pipeline.model.weights_file import checked_source
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.support.bundle import ModelBundle, NetworkKey, load_segmenter
from hdm_pipeline.support.examples import SupportExample, SupportFiles, load_examples, support_files

if TYPE_CHECKING:
    from hdm_pipeline.model.bank import SupportBank
    from hdm_pipeline.model.network import FewShotNetwork
    from hdm_pipeline.model.segmenter import FewShotSegmenter
    from hdm_pipeline.model.support_tensors import SupportTensors
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


@dataclass(frozen=True, eq=False)
class _Prepared:
    """One class: its segmenter with the path of the weights, its bank, its part of the report."""

    key: NetworkKey
    segmenter: FewShotSegmenter
    bank: SupportBank
    report: dict[str, Any]


def prepare(config: PipelineConfig, files: SupportFiles, reader: Reader, workspace: Workspace) -> Preparation:
    """Read the supports, fit the network to them as far as asked for, and encode them.

    Args:
        config: the pipeline.
        files: its examples (`support_files`).
        reader: reads them.
        workspace: where adapted weights are kept.

    Raises:
        SupportError: an example cannot be used.
        WeightsError: the weights cannot be loaded.
    """
    classes = load_examples(config, files, reader)
    path = checked_source(config.model.source)
    base = load_segmenter(path, config.model)
    found = [
        _prepare_class(config, c.name, examples, base, path, workspace.models)
        for c, examples in zip(config.support.classes, classes, strict=True)
    ]
    bundle = ModelBundle(
        weights=tuple(each.key[0] for each in found),
        banks=tuple(each.bank for each in found),
        reductions=tuple(each.key[1] for each in found),
        batch_size=config.execution.batch_size,
        threads=config.execution.threads if isinstance(config.execution.threads, int) else None,
        model=config.model,
        loaded={each.key: each.segmenter for each in found},
    )
    return Preparation(
        bundle=bundle,
        support_hash=stable_hash([bank.hash for bank in bundle.banks]),
        weights_hash=stable_hash([bank.weights_hash for bank in bundle.banks]),
        report={c.name: each.report for c, each in zip(config.support.classes, found, strict=True)},
    )


def check_examples(config: PipelineConfig, reader: Reader) -> dict[str, list[dict[str, Any]]]:
    """Leave-one-out quality of each support example by class, with the weights as they are.

    Raises:
        SupportError: an example cannot be used.
        WeightsError: the weights cannot be loaded.
    """
    base = load_segmenter(config.model.source, config.model)
    found = {}
    classes = load_examples(config, support_files(config), reader)
    for class_config, examples in zip(config.support.classes, classes, strict=True):
        tensors = _tensors(examples, class_config.name)
        reduction = _fit(config, base.network.cpu(), tensors, "off", None).reduction
        found[class_config.name] = _quality(base.refitted(base.network, reduction), tensors, examples)
    return found


def _prepare_class(
    config: PipelineConfig,
    name: str,
    examples: Sequence[SupportExample],
    base: FewShotSegmenter,
    path: str,
    models: Path,
) -> _Prepared:
    start = time.perf_counter()
    tensors = _tensors(examples, name)
    # On the CPU, where sums have a fixed order: the same examples give the same weights, also next to a GPU.
    fit = _fit(config, base.network.cpu(), tensors, config.support.adapt, models)
    unadapted = base.refitted(base.network, fit.reduction)
    segmenter = unadapted if fit.weights is None else base.refitted(fit.network, fit.reduction)
    bank = segmenter.encode(tensors, class_name=name)
    mode = _mode(segmenter)
    report = {
        "shots": len(examples),
        "reduction": round(fit.reduction, 3),
        "mode": mode,
        # Adapted weights have seen the examples and would flatter them.
        "examples": _quality(unadapted, tensors, examples),
        "adaptation": {"steps": 0, "reason": "off"}
        if fit.report is None
        else fit.report.as_dict() | {"cached": fit.cached},
        "seconds": round(time.perf_counter() - start, 3),
    }
    return _Prepared((str(fit.weights or path), fit.reduction), segmenter, bank, report)


def _tensors(examples: Sequence[SupportExample], class_name: str) -> list[SupportTensors]:
    from hdm_pipeline.model.support_tensors import SupportTensors, require_background

    where = f"class {class_name!r}"
    tensors = [SupportTensors.of(e.pixels, e.label, f"{where}, support {e.name}") for e in examples]
    require_background(tensors, where)
    return tensors


def _fit(
    config: PipelineConfig,
    network: FewShotNetwork,
    examples: Sequence[SupportTensors],
    adapt: Literal["auto", "off"] | AdaptSteps,
    cache: Path | None,
) -> Fit:
    """The weights and the reduction for a class."""
    from hdm_pipeline.support.fit import fit_to_examples

    return fit_to_examples(
        network,
        examples,
        adapt=adapt.steps or "off" if isinstance(adapt, AdaptSteps) else adapt,
        reduction=None if config.model.reduction == "auto" else config.model.reduction,
        tile=config.tiling.size,
        cache=cache,
    )


def _mode(segmenter: FewShotSegmenter) -> dict[str, Any]:
    """The mode that a class's examples allow, with its speed and agreement where it is not fp32."""
    if not segmenter.reports:
        return {"precision": "fp32", "runtime": segmenter.runtime}
    return {name: round(v, 4) if isinstance(v, float) else v for name, v in segmenter.reports[-1].as_dict().items()}


def _quality(
    segmenter: FewShotSegmenter, tensors: Sequence[SupportTensors], examples: Sequence[SupportExample]
) -> list[dict[str, Any]]:
    """Leave-one-out quality of examples."""
    from hdm_pipeline.support.quality import leave_one_out

    return [quality.as_dict() for quality in leave_one_out(segmenter, tensors, [e.name for e in examples])]
