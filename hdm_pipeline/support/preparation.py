"""What preparing the examples gives: class by class, all together, and out of what was kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hdm_pipeline.config.schema import ClassConfig, PipelineConfig
from hdm_pipeline.contracts import SceneWarning
from hdm_pipeline.hashing import stable_hash
from hdm_pipeline.support.bundle import ModelBundle, NetworkKey
from hdm_pipeline.support.examples import SupportExample
from hdm_pipeline.support.kept import KeptPreparation
from hdm_pipeline.support.read import ReadExamples

if TYPE_CHECKING:
    from hdm_pipeline.model.bank import SupportBank
    from hdm_pipeline.model.segmenter import FewShotSegmenter
    from hdm_pipeline.pictures.examples import ExamplePicture


@dataclass(frozen=True)
class Preparation:
    """What preparing the supports gave.

    Attributes:
        bundle: for the model actors.
        support_hash: of all banks.
        weights_hash: of all (adapted) weights.
        report: by class: shots, reduction, mode of inference and what it was measured to do, quality of each example,
            what adaptation did, seconds; JSON-able. Where it was `kept` by an earlier run, `seconds` is what looking it
            up took now, and `seconds_when_prepared` what the work took then.
        temperatures: that the scores of each class are calibrated with (`support.temperature`).
        area_scores: between which probabilities the area of each class lies (`support.area_interval`).
        pictures: of every example, with what the others find of it by the weights as they came.
    """

    bundle: ModelBundle
    support_hash: str
    weights_hash: str
    report: dict[str, Any]
    temperatures: tuple[float, ...] = ()
    area_scores: tuple[tuple[float, float], ...] = ()
    pictures: tuple[ExamplePicture, ...] = ()


@dataclass(frozen=True, eq=False)
class PreparedClass:
    """One class: its segmenter with the path of the weights, its bank, its part of the report.

    `segmenter` is None where the class was prepared before: who segments loads the network then.
    """

    key: NetworkKey
    segmenter: FewShotSegmenter | None
    bank: SupportBank
    report: dict[str, Any]
    temperature: float
    area_scores: tuple[float, float]
    pictures: list[ExamplePicture]


def all_classes(config: PipelineConfig, examples: ReadExamples, found: Sequence[PreparedClass]) -> Preparation:
    """All classes together."""
    bundle = _bundle(config, found)
    return Preparation(
        bundle=bundle,
        support_hash=stable_hash([bank.hash for bank in bundle.banks]),
        weights_hash=stable_hash([bank.weights_hash for bank in bundle.banks]),
        temperatures=tuple(each.temperature for each in found),
        area_scores=tuple(each.area_scores for each in found),
        pictures=tuple(picture for each in found for picture in each.pictures),
        report={
            c.name: each.report | {"warnings": _listed(strange)}
            for c, each, strange in zip(config.support.classes, found, examples.warnings, strict=True)
        },
    )


def to_keep(found: Sequence[PreparedClass]) -> KeptPreparation:
    """What is kept for the next run with the same examples."""
    return KeptPreparation(
        banks=tuple(each.bank for each in found),
        reductions=tuple(each.key[1] for each in found),
        temperatures=tuple(each.temperature for each in found),
        area_scores=tuple(each.area_scores for each in found),
        reports=tuple(each.report for each in found),
        scores=tuple(tuple(one.scores for one in each.pictures) for each in found),
        ious=tuple(tuple(one.iou for one in each.pictures) for each in found),
    )


def from_kept(
    config: PipelineConfig, examples: ReadExamples, kept: KeptPreparation, path: str, seconds: float
) -> Preparation:
    """What an earlier preparation of the same examples gave, looked up in so many seconds; no network is loaded."""
    found = []
    now = round(seconds / len(kept.banks), 3)  # all classes are looked up together
    for number, (c, of_class) in enumerate(zip(config.support.classes, examples.classes, strict=True)):
        told = zip(of_class, kept.scores[number], kept.ious[number], strict=True)
        found.append(
            PreparedClass(
                key=(path, kept.reductions[number]),
                segmenter=None,
                bank=kept.banks[number],
                report=_kept_report(kept.reports[number], now),
                temperature=kept.temperatures[number],
                area_scores=kept.area_scores[number],
                pictures=[example_picture(one, c, scores, iou) for one, scores, iou in told],
            )
        )
    return all_classes(config, examples, found)


def _kept_report(report: Mapping[str, Any], now: float) -> dict[str, Any]:
    return {**report, "kept": True, "seconds": now, "seconds_when_prepared": report["seconds"]}


def _bundle(config: PipelineConfig, found: Sequence[PreparedClass]) -> ModelBundle:
    """What the workers need of all classes."""
    return ModelBundle(
        weights=tuple(each.key[0] for each in found),
        banks=tuple(each.bank for each in found),
        reductions=tuple(each.key[1] for each in found),
        batch_size=config.execution.batch_size,
        threads=config.execution.threads if isinstance(config.execution.threads, int) else None,
        model=config.model,
        loaded={each.key: each.segmenter for each in found if each.segmenter is not None},
    )


def _listed(warnings: Mapping[str, Sequence[SceneWarning]]) -> list[dict[str, Any]]:
    """Warnings of the examples of a class as `run.json` carries them."""
    return [{"example": name} | warning.as_dict() for name, of_one in warnings.items() for warning in of_one]


def example_picture(
    example: SupportExample, class_config: ClassConfig, scores: npt.NDArray[np.uint8] | None, iou: float | None
) -> ExamplePicture:
    """What is drawn of an example, and of what the others find of it."""
    from hdm_pipeline.pictures.examples import ExamplePicture

    return ExamplePicture(example.name, class_config.name, example.pixels, example.label, scores, iou, class_config.rgb)
