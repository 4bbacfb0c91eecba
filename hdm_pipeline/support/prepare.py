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

import numpy as np
import numpy.typing as npt

from hdm_pipeline.config.schema import AdaptSteps, ClassConfig, PipelineConfig
from hdm_pipeline.contracts import Reader
from hdm_pipeline.model.background import require_background
from hdm_pipeline.model.weights_file import checked_source
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.support.bundle import load_segmenter
from hdm_pipeline.support.examples import SupportExample, support_files
from hdm_pipeline.support.kept import Shelf
from hdm_pipeline.support.preparation import (
    Preparation,
    PreparedClass,
    all_classes,
    example_picture,
    from_kept,
    to_keep,
)
from hdm_pipeline.support.read import ReadExamples, read_examples
from hdm_pipeline.support.steps import OnStep, Steps

if TYPE_CHECKING:
    from hdm_pipeline.model.bank import SupportBank
    from hdm_pipeline.model.network import FewShotNetwork
    from hdm_pipeline.model.segmenter import FewShotSegmenter
    from hdm_pipeline.model.support_tensors import SupportTensors
    from hdm_pipeline.pictures.examples import ExamplePicture
    from hdm_pipeline.support.fit import Fit
    from hdm_pipeline.support.reliability import Reliability
    from hdm_pipeline.support.temperature import Calibration


def prepare(
    config: PipelineConfig, examples: ReadExamples, workspace: Workspace, on_step: OnStep | None = None
) -> Preparation:
    """Fit the network to the supports as far as asked for, and encode them.

    Args:
        config: the pipeline.
        examples: its supports (`read_examples`).
        workspace: where adapted weights are kept.
        on_step: told how far it is; what it raises ends the preparation, and nothing half done is kept.

    Raises:
        SupportError: an example cannot be used.
        WeightsError: the weights cannot be loaded.
    """
    steps = Steps(on_step)
    classes = examples.classes
    start = time.perf_counter()
    path = checked_source(config.model.source)
    shelf = Shelf.of(config, classes, private=examples.private)
    if (kept := shelf.get()) is not None:
        return from_kept(config, examples, kept, path, time.perf_counter() - start)
    base = _load(config, path, steps)
    tensors = _tensors(config, classes)
    # What choosing a reduction computed of an image serves encoding it, and every other class that shows it.
    with base.remembering():
        fits = _fits(config, base, tensors, config.support.adapt, workspace.models, steps)
        found = [
            _prepare_class(config, c, examples, of_class, fit, base, path, steps)
            for c, examples, of_class, fit in zip(config.support.classes, classes, tensors, fits, strict=True)
        ]
    if all(each.key[0] == path for each in found):
        shelf.put(to_keep(found))
    return all_classes(config, examples, found)


def _load(config: PipelineConfig, path: str, steps: Steps) -> FewShotSegmenter:
    """The network with the weights as they come."""
    steps.begin("loading", 1)
    base = load_segmenter(path, config.model)
    steps.advance(1)
    return base


def check_examples(
    config: PipelineConfig, reader: Reader, pictures: list[ExamplePicture] | None = None, on_step: OnStep | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Leave-one-out quality of each support example by class, with the weights as they are.

    Args:
        config: the pipeline.
        reader: reads the examples.
        pictures: gets what is to be drawn of each example.
        on_step: told how far it is.

    Raises:
        SupportError: an example cannot be used.
        WeightsError: the weights cannot be loaded.
    """
    steps = Steps(on_step)
    found = {}
    classes = read_examples(config, support_files(config), reader, on_step).classes
    base = _load(config, config.model.source, steps)
    of_classes = _tensors(config, classes)
    fits = _fits(config, base, of_classes, "off", None, steps)
    for class_config, examples, tensors, fit in zip(config.support.classes, classes, of_classes, fits, strict=True):
        segmenter = base.refitted(base.network, fit.fit.reduction)
        _weigh_bands([segmenter], tensors)
        steps.begin("encoding", 1, class_config.name)
        run = segmenter.encode(tensors, class_name=class_config.name)
        steps.advance(1)
        found[class_config.name], _, drawn = _quality(segmenter, tensors, examples, run, class_config, steps)
        if pictures is not None:
            pictures += drawn
    return found


@dataclass(frozen=True, eq=False)
class _Fitted:
    """What a class's examples decided: alone, and then together with the other classes; seconds for the former."""

    fit: Fit
    alone: float
    seconds: float


def _fits(
    config: PipelineConfig,
    base: FewShotSegmenter,
    classes: Sequence[Sequence[SupportTensors]],
    adapt: Literal["auto", "off"] | AdaptSteps,
    models: Path | None,
    steps: Steps,
) -> list[_Fitted]:
    """What the examples of every class decide; classes that bear it see tiles at one reduction, in one pass."""
    from hdm_pipeline.support.one_pass import share_reduction

    # On the CPU, where sums have a fixed order: the same examples give the same weights, also next to a GPU.
    network = base.network.cpu()
    alone, seconds = [], []
    for class_config, tensors in zip(config.support.classes, classes, strict=True):
        start = time.perf_counter()
        alone.append(_fit(config, class_config.name, network, tensors, adapt, models, steps))
        seconds.append(time.perf_counter() - start)
    if len(classes) > 1:
        steps.begin("reduction", 1)
    shared = share_reduction(network, classes, alone)
    if len(classes) > 1:
        steps.advance(1)
    return [_Fitted(fit, own.reduction, spent) for fit, own, spent in zip(shared, alone, seconds, strict=True)]


def _prepare_class(
    config: PipelineConfig,
    class_config: ClassConfig,
    examples: Sequence[SupportExample],
    tensors: Sequence[SupportTensors],
    fitted: _Fitted,
    base: FewShotSegmenter,
    path: str,
    steps: Steps,
) -> PreparedClass:
    start = time.perf_counter() - fitted.seconds
    fit = fitted.fit
    unadapted = base.refitted(base.network, fit.reduction)
    segmenter = unadapted if fit.weights is None else base.refitted(fit.network, fit.reduction)
    bands = _weigh_bands([segmenter, unadapted], tensors)
    # Adapted weights have seen the examples, so these can no longer be held out to weigh the sources.
    with unadapted.remembering():
        steps.begin("encoding", 1, class_config.name)
        bank = segmenter.encode(tensors, class_name=class_config.name, weigh=fit.weights is None, describe=True)
        mode = _mode(segmenter)
        steps.advance(1)
        run = bank if fit.weights is None else None
        quality, held_out, pictures = _quality(unadapted, tensors, examples, run, class_config, steps)
    calibration = _calibration(config, fit, held_out)
    area_scores = _area_scores(fit, held_out, calibration)
    report = {
        "shots": len(examples),
        "reduction": round(fit.reduction, 3),
        **({} if fit.reduction == fitted.alone else {"reduction_alone": round(fitted.alone, 3)}),
        "mode": mode,
        # Adapted weights have seen the examples and would flatter them.
        "examples": quality,
        "calibration": calibration.as_dict(),
        "area_interval_scores": [round(score, 4) for score in area_scores],
        "adaptation": {"steps": 0, "reason": "off"}
        if fit.report is None
        else fit.report.as_dict() | {"cached": fit.cached},
        **bands,
        "seconds": round(time.perf_counter() - start, 3),
    }
    key = str(fit.weights or path), fit.reduction
    return PreparedClass(key, segmenter, bank, report, calibration.temperature, area_scores, pictures)


def _tensors(config: PipelineConfig, classes: Sequence[Sequence[SupportExample]]) -> list[list[SupportTensors]]:
    """The examples of every class; more than three bands are projected alike for all, so that one pass serves all."""
    from hdm_pipeline.model.support_tensors import SupportTensors, fit_projection

    projection = fit_projection([[(e.pixels, e.label) for e in examples] for examples in classes])
    found = []
    for c, examples in zip(config.support.classes, classes, strict=True):
        where = f"class {c.name!r}"
        tensors = [SupportTensors.of(e.pixels, e.label, f"{where}, support {e.name}", projection) for e in examples]
        require_background([example.labels for example in tensors], where)
        found.append(tensors)
    return found


def _weigh_bands(segmenters: Sequence[FewShotSegmenter], tensors: Sequence[SupportTensors]) -> dict[str, Any]:
    """Let the first segmenter's network say how much the evidence of all bands counts, and all know it; for the report.

    Empty where there are up to three bands.
    """
    from hdm_pipeline.support.bands import choose_band_weight

    chosen = choose_band_weight(segmenters[0], tensors)
    if chosen is None:
        return {}
    for segmenter in segmenters:
        segmenter.band_weight = chosen.weight
    return {"bands": {"count": len(tensors[0].image), **chosen.as_dict()}}


def _fit(
    config: PipelineConfig,
    name: str,
    network: FewShotNetwork,
    examples: Sequence[SupportTensors],
    adapt: Literal["auto", "off"] | AdaptSteps,
    cache: Path | None,
    steps: Steps,
) -> Fit:
    """The weights and the reduction for a class."""
    from hdm_pipeline.support.fit import fit_to_examples
    from hdm_pipeline.support.reduction import SIDES

    def on_candidate(done: int, total: int) -> None:
        steps.advance(done, total)

    def on_adapted(done: int, most: int, _loss: float) -> None:
        if done == 1:
            steps.begin("adaptation", most, name)
        steps.advance(done)

    if config.model.reduction == "auto":
        steps.begin("reduction", len(SIDES), name)
    return fit_to_examples(
        network,
        examples,
        adapt=adapt.steps or "off" if isinstance(adapt, AdaptSteps) else adapt,
        reduction=None if config.model.reduction == "auto" else config.model.reduction,
        tile=config.tiling.size,
        cache=cache,
        on_step=on_adapted,
        on_candidate=on_candidate,
    )


def _mode(segmenter: FewShotSegmenter) -> dict[str, Any]:
    """The mode that a class's examples allow, with its speed and agreement where it is not fp32."""
    if not segmenter.reports:
        return {"precision": "fp32", "runtime": segmenter.runtime}
    return {name: round(v, 4) if isinstance(v, float) else v for name, v in segmenter.reports[-1].as_dict().items()}


def _quality(
    segmenter: FewShotSegmenter,
    tensors: Sequence[SupportTensors],
    examples: Sequence[SupportExample],
    run: SupportBank | None,
    class_config: ClassConfig,
    steps: Steps,
) -> tuple[list[dict[str, Any]], list[Reliability | None], list[ExamplePicture]]:
    """Leave-one-out quality of examples, their scores by the others against their labels, and pictures of both.

    `run` is the bank that the run uses, unless its weights have seen the examples.
    """
    from hdm_pipeline.support.quality import leave_one_out

    held_out: list[Reliability | None] = []
    scores: list[npt.NDArray[np.uint8] | None] = []
    steps.begin("checking", len(examples), class_config.name)
    names = [e.name for e in examples]
    found = leave_one_out(segmenter, tensors, names, held_out, run, scores=scores, on_example=steps.advance)
    told = zip(examples, found, scores, strict=True)
    pictures = [example_picture(one, class_config, by_others, quality.iou) for one, quality, by_others in told]
    return [quality.as_dict() for quality in found], held_out, pictures


def _calibration(config: PipelineConfig, fit: Fit, held_out: Sequence[Reliability | None]) -> Calibration:
    """How sure the scores of a class may be."""
    from hdm_pipeline.support.temperature import Calibration, choose_temperature

    if config.support.calibrate == "off":
        return Calibration(reason="off")
    if fit.weights is not None:
        return Calibration(reason="the weights were adapted to the examples, which can no longer be held out")
    return choose_temperature(held_out)


def _area_scores(fit: Fit, held_out: Sequence[Reliability | None], calibration: Calibration) -> tuple[float, float]:
    """Between which probabilities the area of a class lies."""
    from hdm_pipeline.support.area_interval import interval_scores

    return interval_scores(held_out if fit.weights is None else (), calibration.temperature)
