"""Runs a network, and a baseline to compare with, over an episode list.

Episodes that share their examples share a bank, an adaptation and a trained baseline. An episode whose files cannot be
used is reported and left out; the others go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hdm_pipeline.contracts import Labels, Pixels
from hdm_pipeline.errors import HdmError, MissingExtraError, TrainingError
from hdm_pipeline.evaluation.baselines import BASELINES, Baseline
from hdm_pipeline.evaluation.calibration import TaskCalibration, by_task, overall
from hdm_pipeline.evaluation.episode_list import ListedEpisode, Query, SupportSet, load_query, load_support
from hdm_pipeline.evaluation.outline import OutlineCounts, count_outlines
from hdm_pipeline.evaluation.points import keep_points
from hdm_pipeline.iou import Counts, Summary, count, summarize
from hdm_pipeline.model.bank import SupportBank
from hdm_pipeline.model.segmenter import FewShotSegmenter
from hdm_pipeline.model.support_tensors import bounded, support_tensors
from hdm_pipeline.model.views import Augment
from hdm_pipeline.model.whole_image import OVERLAP, TILE, segment_image
from hdm_pipeline.support.adaptation import AdaptationReport
from hdm_pipeline.support.bands import choose_band_weight
from hdm_pipeline.support.fit import Adapt, fit_to_examples
from hdm_pipeline.support.quality import leave_one_out
from hdm_pipeline.support.reliability import Reliability
from hdm_pipeline.support.temperature import Calibration, choose_temperature

OnEpisode = Callable[["EpisodeResult"], None]
SCORE_THRESHOLD = 128


@dataclass(frozen=True)
class EvaluationSettings:
    """What is run.

    Attributes:
        adapt: adapt to each set of examples (``auto``: keep what helps; a number: that many steps), or ``off``.
        baseline: name in `BASELINES`, or None.
        cache: folder of adapted weights that are used again, or None.
        reduction: how much smaller the network sees images; None to choose it by the examples.
        seed: of adaptation, and of the points.
        points: keep the labels of so many random pixels of each class in each example, or None to keep all.
        augment: flipped and turned views of a query whose answers are averaged (`model.views`).
        calibrate: also hold out examples to choose a temperature; no prediction changes by it.
    """

    adapt: Adapt = "off"
    baseline: str | None = None
    cache: Path | None = None
    reduction: float | None = None
    seed: int = 0
    points: int | None = None
    augment: Augment = "none"
    calibrate: bool = False


@dataclass(frozen=True, eq=False)
class EpisodeResult:
    """What came of one episode.

    Attributes:
        episode: the episode.
        counts: pixels of the network's prediction, or None if the episode failed.
        baseline: pixels of the baseline's prediction, or None without one.
        seconds: for segmenting the query.
        error: why the episode was left out, or None.
        shown: what a contact sheet needs, or None.
        outlines: outline pixels of the network's prediction, or None if the episode failed.
        reliability: the network's scores against the truth, or None if the episode failed.
        temperature: that the episode's examples would calibrate them with; 1 leaves them as they are.
        warnings: what is strange about its masks, by a line each; of an episode that failed, too.
    """

    episode: ListedEpisode
    counts: Counts | None = None
    baseline: Counts | None = None
    seconds: float = 0.0
    error: HdmError | None = None
    shown: Shown | None = None
    outlines: OutlineCounts | None = None
    reliability: Reliability | None = None
    temperature: float = 1.0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Shown:
    """The first example, the query and the prediction [y, x] bool of one episode."""

    support_image: Pixels
    support_mask: Labels
    query: Query
    prediction: npt.NDArray[np.bool_]


@dataclass
class Evaluation:
    """Everything a run found out.

    Attributes:
        results: one for each episode, in the order of the list.
        adaptations: one report for each set of examples that was adapted to, with its task.
        reductions: what was chosen for each set of examples, with its task.
        settings: what was run.
    """

    settings: EvaluationSettings
    results: list[EpisodeResult] = field(default_factory=list)
    adaptations: list[tuple[str, AdaptationReport]] = field(default_factory=list)
    reductions: list[tuple[str, float]] = field(default_factory=list)

    @property
    def failed(self) -> list[EpisodeResult]:
        """The episodes that were left out."""
        return [result for result in self.results if result.error is not None]

    @property
    def warnings(self) -> list[str]:
        """What is strange about masks, each told once."""
        return list(dict.fromkeys(line for result in self.results for line in result.warnings))

    @property
    def summary(self) -> Summary:
        """Figures of the network."""
        return summarize([(r.episode.task, r.counts) for r in self.results if r.counts is not None])

    @property
    def baseline_summary(self) -> Summary | None:
        """Figures of the baseline, over the same episodes."""
        counted = [(r.episode.task, r.baseline) for r in self.results if r.baseline is not None]
        return summarize(counted) if counted else None

    @property
    def outlines(self) -> dict[str, OutlineCounts]:
        """Outline pixels of the network, by task."""
        found: dict[str, OutlineCounts] = {}
        for result in self.results:
            if result.outlines is not None:
                task = result.episode.task
                found[task] = found.get(task, OutlineCounts()) + result.outlines
        return found

    @property
    def calibration(self) -> dict[str, TaskCalibration]:
        """The network's scores against the truth, by task."""
        queries = [(r.episode.task, r.reliability, r.temperature) for r in self.results if r.reliability is not None]
        return by_task(queries)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able: what `evaluate --json` writes."""
        queries = [result.seconds for result in self.results if result.counts is not None]
        adaptations = [report.seconds for _, report in self.adaptations]
        baseline = self.baseline_summary
        calibration = self.calibration
        pixels = overall(calibration).as_dict()
        return {
            **_summary_dict(self.summary),
            "boundary_f1": {task: _known(counts.f1) for task, counts in self.outlines.items()},
            "calibration_error": pixels["error"],
            "calibration_error_calibrated": pixels["error_calibrated"],
            "reliability": pixels["reliability"],
            "reliability_calibrated": pixels["reliability_calibrated"],
            "calibration": {task: found.as_dict() for task, found in calibration.items()},
            "episodes": len(queries),
            "adapt": self.settings.adapt,
            "points": self.settings.points,
            "augment": self.settings.augment,
            "seconds_per_query": _mean(queries),
            "seconds_per_adaptation": _mean(adaptations),
            "adaptations": [{"task": task, **report.as_dict()} for task, report in self.adaptations],
            "reductions": [{"task": task, "reduction": reduction} for task, reduction in self.reductions],
            "baseline": baseline and {"name": self.settings.baseline, **_summary_dict(baseline)},
            "warnings": self.warnings,
            "failed": [
                {"line": r.episode.line, "task": r.episode.task, **r.error.as_dict()} for r in self.failed if r.error
            ],
        }


def evaluate(
    episodes: Sequence[ListedEpisode],
    segmenter: FewShotSegmenter,
    settings: EvaluationSettings,
    *,
    keep_shown: int = 0,
    on_episode: OnEpisode | None = None,
) -> Evaluation:
    """Segment every query by its examples and compare with the truth.

    Args:
        episodes: the list.
        segmenter: the network.
        settings: what is run.
        keep_shown: for how many episodes the pictures of a contact sheet are kept, spread over the list.
        on_episode: called after each episode.

    Raises:
        TrainingError: no episode at all could be run.
    """
    found = Evaluation(settings)
    by_support: dict[tuple[object, ...], list[int]] = {}
    for index, episode in enumerate(episodes):
        by_support.setdefault(episode.support_key, []).append(index)
    shown = {round(i) for i in np.linspace(0, len(episodes) - 1, min(keep_shown, len(episodes)))}
    results: dict[int, EpisodeResult] = {}
    for indices in by_support.values():
        runner = _Runner(segmenter, settings, found)
        for index in indices:
            results[index] = runner.run(episodes[index], show=index in shown)
            if on_episode is not None:
                on_episode(results[index])
    found.results = [results[index] for index in range(len(episodes))]
    if len(found.failed) == len(episodes):
        first = found.failed[0].error
        several = f"none of the {len(episodes)} episodes could be run; the first"
        none_could = several if len(episodes) > 1 else "the episode could not be run"
        raise TrainingError(
            f"{none_could}: {first.what if first else ''}",
            where=first.where if first else "",
            remedy=first.remedy if first else "",
        )
    return found


class _Runner:
    """Runs episodes that share their examples; what the examples give is made at the first of them."""

    def __init__(
        self,
        segmenter: FewShotSegmenter,
        settings: EvaluationSettings,
        found: Evaluation,
    ) -> None:
        self._base = segmenter
        self._settings = settings
        self._found = found
        self._task: PreparedTask | None = None
        self._told: list[str] = []
        self._broken: HdmError | None = None

    def run(self, episode: ListedEpisode, *, show: bool) -> EpisodeResult:
        told: list[str] = []
        try:
            result = self._run(episode, told, show=show)
        except MissingExtraError:
            raise  # every episode would meet it
        except HdmError as error:
            result = EpisodeResult(episode, error=error)
        return replace(result, warnings=(*self._told, *told))

    def _run(self, episode: ListedEpisode, told: list[str], *, show: bool) -> EpisodeResult:
        """Segment a query; what is strange about its mask goes to `told`, whether it can be used or not."""
        task = self._prepared(episode)
        query = load_query(episode.query, task.support, tell=told.append)
        start = time.perf_counter()
        scores = task.segment(query)
        seconds = time.perf_counter() - start
        prediction = (scores >= SCORE_THRESHOLD) & query.valid
        baseline = None
        if task.baseline is not None:
            baseline = count(task.baseline.predict(query.image) & query.valid, query.truth)
        first = np.nan_to_num(task.support.images[0]), task.support.masks[0]
        shown = Shown(*first, query, prediction) if show else None
        return EpisodeResult(
            episode,
            count(prediction, query.truth),
            baseline,
            seconds,
            shown=shown,
            outlines=count_outlines(prediction, query.truth),
            reliability=Reliability.of(scores, query.truth),
            temperature=task.calibration.temperature,
        )

    def _prepared(self, episode: ListedEpisode) -> PreparedTask:
        if self._broken is not None:
            raise self._broken
        if self._task is None:
            try:
                self._task = self._prepare(episode)
            except HdmError as error:
                self._broken = error
                raise
        return self._task

    def _prepare(self, episode: ListedEpisode) -> PreparedTask:
        support = load_support(episode, tell=self._told.append)
        if self._settings.points is not None:
            support = keep_points(support, self._settings.points, self._settings.seed)
        task = prepare_task(self._base, support, self._settings)
        self._found.reductions.append((episode.task, task.segmenter.reduction))
        if task.adaptation is not None:
            self._found.adaptations.append((episode.task, task.adaptation))
        return task


@dataclass(frozen=True, eq=False)
class PreparedTask:
    """Everything that a set of examples gives, made once.

    Attributes:
        support: the examples.
        segmenter: with the (adapted) weights and the reduction.
        bank: the encoded examples.
        baseline: trained on the examples, or None.
        adaptation: what adaptation did, or None.
        calibration: how sure the scores may be.
    """

    support: SupportSet
    segmenter: FewShotSegmenter
    bank: SupportBank
    baseline: Baseline | None
    adaptation: AdaptationReport | None
    calibration: Calibration = field(default_factory=Calibration)

    def segment(self, query: Query) -> npt.NDArray[np.uint8]:
        """Scores [y, x] of a query, 255 times the probability; 0 where it has no data."""
        tile, overlap = (round(side * self.segmenter.reduction) for side in (TILE, OVERLAP))
        scores = segment_image(self.segmenter, query.image, query.valid, [self.bank], tile=tile, overlap=overlap)
        return np.asarray(scores[0])


def prepare_task(segmenter: FewShotSegmenter, support: SupportSet, settings: EvaluationSettings) -> PreparedTask:
    """Fit to the examples, encode them and train the baseline."""
    examples = support_tensors(support.images, support.masks, "episode")
    fit = fit_to_examples(
        segmenter.network,
        examples,
        adapt=settings.adapt,
        reduction=settings.reduction,
        cache=settings.cache,
        seed=settings.seed,
    )
    fitted = FewShotSegmenter.from_network(fit.network, reduction=fit.reduction, augment=settings.augment)
    baseline = None
    if settings.baseline is not None:
        baseline = BASELINES[settings.baseline]()
        baseline.fit([np.nan_to_num(image) for image in support.images], support.masks)
    bands = choose_band_weight(fitted, examples)
    if bands is not None:
        fitted.band_weight = bands.weight
    # Adapted weights have seen the examples, so these can no longer be held out, to weigh the sources or to calibrate.
    unseen = fit.network is segmenter.network
    bank = fitted.encode(bounded(examples), weigh=unseen)
    calibration = Calibration()
    if settings.calibrate and unseen and len(examples) > 1:
        held_out: list[Reliability | None] = []
        leave_one_out(fitted, examples, support.names, held_out, bank)
        calibration = choose_temperature(held_out)
    return PreparedTask(support, fitted, bank, baseline, fit.report, calibration)


def _summary_dict(summary: Summary) -> dict[str, Any]:
    return {
        "tasks": {
            name: {
                "iou": _known(figures.iou),
                "dice": _known(figures.dice),
                "episodes": figures.episodes,
                "iou_interval": [_known(end) for end in figures.iou_interval],
            }
            for name, figures in summary.tasks.items()
        },
        "mean_iou": _known(summary.mean_iou),
        "mean_iou_interval": [_known(end) for end in summary.mean_iou_interval],
        "fb_iou": _known(summary.fb_iou),
        "empty_false_share": summary.empty_false_share,
    }


def _known(value: float) -> float | None:
    """JSON has no NaN."""
    return None if np.isnan(value) else value


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
