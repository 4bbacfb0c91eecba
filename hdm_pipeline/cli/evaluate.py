"""`hdm-pipeline evaluate` and `hdm-pipeline adapt`: how good weights are on a user's tasks, and making them better."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hdm_pipeline.errors import ConfigError
from hdm_pipeline.output.files import output_errors

if TYPE_CHECKING:
    from hdm_pipeline.evaluation.episode_list import ListedEpisode
    from hdm_pipeline.evaluation.evaluate import EpisodeResult, Evaluation, EvaluationSettings

app = typer.Typer(help="Measure weights on labelled episodes, adapt them to examples.", no_args_is_help=True)

DEFAULT_WEIGHTS = "builtin:pyramid"
EXIT_CODES = "Exit codes: 0 done, 1 failed, 2 bad list or usage, 3 finished but some episodes could not be used."
_PARTLY_FAILED = 3
_FAILURES_SHOWN = 10


class AdaptMode(StrEnum):
    """Whether to adapt before segmenting."""

    AUTO = "auto"
    OFF = "off"


class AugmentMode(StrEnum):
    """Views of a query whose scores are averaged."""

    NONE = "none"
    FLIPS = "flips"
    ROTATIONS = "rotations"


class BaselineName(StrEnum):
    """Pixel classifiers trained on the same examples."""

    RF = "rf"
    NEAREST_PROTOTYPE = "nearest-prototype"


class BenchmarkName(StrEnum):
    """Data sets of the few-shot literature."""

    PASCAL = "pascal-5i"
    COCO = "coco-20i"


WeightsOption = Annotated[
    str, typer.Option(help="builtin:NAME, a *.safetensors file, a released *.pth, or transformers:FOLDER.")
]


@app.command(epilog=EXIT_CODES)
def evaluate(
    episodes: Annotated[Path, typer.Argument(help="Episode list, one JSON object a line (docs/evaluation.md).")],
    weights: WeightsOption = DEFAULT_WEIGHTS,
    adapt: Annotated[AdaptMode, typer.Option(help="Adapt to the examples of each episode first.")] = AdaptMode.AUTO,
    adapt_steps: Annotated[
        int | None, typer.Option(min=0, help="Adapt by exactly this many steps, whether it helps or not.")
    ] = None,
    baseline: Annotated[BaselineName | None, typer.Option(help="Also run a baseline, to compare with.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Write a contact sheet (PNG) to look at.")] = None,
    sheet_rows: Annotated[int, typer.Option(min=1, max=200, help="Episodes on the contact sheet.")] = 24,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Also say how far the scores are right, before and after calibration.")
    ] = False,
    reliability: Annotated[
        Path | None, typer.Option(help="Write reliability diagrams (PNG) by task; implies --calibrate.")
    ] = None,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write all figures as JSON.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Keep adapted weights in this folder and use them again.")] = None,
    points: Annotated[
        str | None,
        typer.Option(help="Also keep only so many labelled pixels of each class in each example: 1,5,20,100."),
    ] = None,
    augment: Annotated[
        AugmentMode, typer.Option(help="Average over 4 flipped, or 8 flipped and turned views of each query.")
    ] = AugmentMode.NONE,
    seed: Annotated[int, typer.Option(help="Seed of adaptation, and of the points.")] = 0,
) -> None:
    """Segment every query of a list by its labelled examples and compare with the truth: IoU, Dice, intervals.

    Intersections and unions are summed over the episodes of a task; the mean is taken over tasks.
    """
    from dataclasses import replace

    from hdm_pipeline.evaluation.calibration import calibration_text
    from hdm_pipeline.evaluation.diagram import write_diagram
    from hdm_pipeline.evaluation.episode_list import read_episodes
    from hdm_pipeline.evaluation.evaluate import EvaluationSettings
    from hdm_pipeline.evaluation.points import curve_text, parse_points
    from hdm_pipeline.evaluation.sheet import write_sheet
    from hdm_pipeline.model.segmenter import FewShotSegmenter

    for target in (sheet, reliability, json_path):
        _require_folder(target)
    counts = () if points is None else parse_points(points)
    listed = read_episodes(episodes)
    settings = EvaluationSettings(
        adapt=adapt_steps if adapt_steps is not None else adapt.value,
        baseline=None if baseline is None else baseline.value,
        cache=cache,
        seed=seed,
        augment=augment.value,
        calibrate=calibrate or reliability is not None,
    )
    segmenter = FewShotSegmenter.load(weights)
    told: dict[str, None] = {}
    found = _with_progress(listed, segmenter, settings, told, keep_shown=sheet_rows if sheet else 0)
    typer.echo(_table(found))
    if settings.calibrate:
        typer.echo(calibration_text(found.calibration))
    thinner = [replace(settings, points=n, calibrate=False) for n in counts]
    thinned = [_with_progress(listed, segmenter, fewer, told, keep_shown=0) for fewer in thinner]
    curve = [each.as_dict() for each in thinned]
    if curve:
        typer.echo(curve_text([*curve, found.as_dict()]))
    if json_path is not None:
        facts = {"list": str(episodes), "weights": weights, "weights_hash": segmenter.weights_hash, **found.as_dict()}
        facts |= {"curve": curve} if curve else {}
        _write_json(json_path, facts)
    if sheet is not None:
        write_sheet(found.results, sheet)
    if reliability is not None:
        write_diagram(found.calibration, reliability)
    _exit_if_left_out([found, *thinned])


@app.command(epilog=EXIT_CODES)
def adapt(
    support: Annotated[
        list[str],
        typer.Argument(help="Labelled examples as IMAGE:MASK, or one episode list (*.jsonl), whose examples are used."),
    ],
    out: Annotated[Path, typer.Option(help="The *.safetensors file to write.")],
    weights: WeightsOption = DEFAULT_WEIGHTS,
    steps: Annotated[int | None, typer.Option(min=1, help="Exactly this many steps, whether they help or not.")] = None,
    scale: Annotated[
        tuple[float, float] | None, typer.Option(help="Values that become 0 and 1; found from the examples otherwise.")
    ] = None,
    bands: Annotated[str | None, typer.Option(help="One-based channels, as 1,2,3.")] = None,
    ignore: Annotated[str | None, typer.Option(help="Values of the masks that count nowhere, as -1 or 2,3.")] = None,
    task: Annotated[str | None, typer.Option(help="Task of the list; needed if it holds several.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the crops.")] = 0,
) -> None:
    """Adapt weights to the labelled examples of one class and write them; held-out examples decide how far.

    The file is used like any other weights: `model: {weights: F.safetensors, reduction: R}`, R as printed, with
    `support: {adapt: off}`.
    """
    from hdm_pipeline.evaluation.episode_list import load_support
    from hdm_pipeline.model.checkpoints import load_network, save_weights
    from hdm_pipeline.model.support_tensors import support_tensors
    from hdm_pipeline.support.adaptation import AdaptationReport
    from hdm_pipeline.support.fit import fit_to_examples

    if out.suffix != ".safetensors":
        raise ConfigError("the output is not called *.safetensors", where=str(out), remedy="give it that ending")
    _require_folder(out)
    examples = load_support(_support_episode(support, task, scale, bands, ignore), tell=_warn)
    network = load_network(weights)
    fit = fit_to_examples(
        network,
        support_tensors(examples.images, examples.masks, "adapt"),
        adapt="auto" if steps is None else steps,
        seed=seed,
        on_step=_step_line(),
    )
    report = fit.report or AdaptationReport(0, {}, 0.0)
    note = {"adaptation": json.dumps(report.as_dict()), "adapted_from": network.fingerprint()}
    fingerprint = save_weights(fit.network, out, info=note)
    held_out = ", ".join(f"{s} steps {iou:.3f}" for s, iou in report.held_out_iou.items())
    typer.echo(f"kept {report.steps} steps" + (f" (held-out IoU: {held_out})" if held_out else ""))
    typer.echo(f"wrote {out}, fingerprint {fingerprint}, {report.seconds:.0f} s")
    typer.echo(
        f"use it with model: {{weights: {out.name}, reduction: {fit.reduction:.3g}}} and support: {{adapt: off}}"
    )


@app.command("evaluate-fold", epilog=EXIT_CODES)
def evaluate_fold(
    folder: Annotated[Path, typer.Argument(help="Data set with val.txt, whose lines name an image and its label map.")],
    benchmark: Annotated[BenchmarkName, typer.Option(help="Which of the two data sets of the field.")],
    fold: Annotated[int, typer.Option(min=0, max=3, help="The fold whose classes were held out.")],
    shots: Annotated[int, typer.Option(min=1, help="Supports an episode.")] = 1,
    weights: WeightsOption = DEFAULT_WEIGHTS,
    episodes: Annotated[
        int | None, typer.Option(min=1, help="Episodes a run; 1,000 (PASCAL) or 10,000 (COCO) as published.")
    ] = None,
    runs: Annotated[int, typer.Option(min=1, max=10, help="Runs, each with its published seed.")] = 10,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write all figures as JSON.")] = None,
) -> None:
    """Run the published test of PASCAL-5i or COCO-20i: mIoU and FB-IoU at original size, mean and best of ten runs."""
    from rich.console import Console
    from rich.progress import Progress

    from hdm_pipeline.evaluation.fewshot_sets import read_fold
    from hdm_pipeline.evaluation.published import EPISODES, SEEDS, SIDES, run_protocol
    from hdm_pipeline.model.checkpoints import load_network

    _require_folder(json_path)
    network = load_network(weights)
    listed = read_fold(folder, benchmark.value, fold, "val")
    count = episodes or EPISODES[benchmark.value]
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("episodes", total=count * runs)
        report = run_protocol(
            network,
            listed,
            shots=shots,
            episodes=count,
            side=SIDES[benchmark.value],
            seeds=SEEDS[:runs],
            on_episode=lambda done: progress.update(bar, completed=done),
        )
    for run in report.runs:
        typer.echo(f"seed {run.seed}: mIoU {100 * run.mean_iou:.1f}, FB-IoU {100 * run.fb_iou:.1f}")
    typer.echo(f"mIoU mean {100 * report.mean_iou:.1f}, best {100 * report.best_iou:.1f}")
    if json_path is not None:
        _write_json(json_path, report.as_dict())


def _support_episode(
    support: list[str], task: str | None, scale: tuple[float, float] | None, bands: str | None, ignore: str | None
) -> ListedEpisode:
    """The examples of the command line, as an episode (whose query is never read)."""
    from dataclasses import replace

    from hdm_pipeline.evaluation.episode_list import (
        ListedEpisode,
        ListedExample,
        parse_bands,
        parse_ignore,
        parse_scale,
    )

    try:
        wanted_scale = parse_scale(None if scale is None else list(scale))
        wanted_bands = parse_bands(None if bands is None else [int(band) for band in bands.split(",")])
        ignored = parse_ignore(None if ignore is None else [int(value) for value in ignore.split(",")])
    except ValueError as error:
        raise ConfigError(f"wrong option: {error}", where="--scale, --bands, --ignore", remedy="see --help") from error
    if len(support) == 1 and support[0].endswith((".jsonl", ".json")):
        episode = _episode_of_list(Path(support[0]), task)
        if ignored is not None:
            episode = replace(episode, support=tuple(replace(one, ignore=ignored) for one in episode.support))
        return replace(episode, scale=wanted_scale or episode.scale, bands=wanted_bands or episode.bands)
    pairs = [entry.rpartition(":") for entry in support]
    for entry, (image, _, mask) in zip(support, pairs, strict=True):
        if not image or not mask:
            raise ConfigError(f"not IMAGE:MASK: {entry!r}", where="SUPPORT", remedy="write chip.tif:chip_mask.tif")
    examples = tuple(ListedExample(Path(image), Path(mask), ignored) for image, _, mask in pairs)
    return ListedEpisode(task or "target", examples, examples[0], wanted_scale, wanted_bands)


def _episode_of_list(path: Path, task: str | None) -> ListedEpisode:
    """All different examples of a list's task, as one episode."""
    from dataclasses import replace

    from hdm_pipeline.evaluation.episode_list import read_episodes

    listed = read_episodes(path)
    names = list(dict.fromkeys(episode.task for episode in listed))
    if task is None and len(names) > 1:
        raise ConfigError(
            f"list holds {len(names)} tasks", where=str(path), remedy=f"choose one by --task: {', '.join(names[:8])}"
        )
    chosen = [episode for episode in listed if task in (None, episode.task)]
    if not chosen:
        raise ConfigError(f"list holds no task {task!r}", where=str(path), remedy=f"tasks: {', '.join(names[:8])}")
    examples = dict.fromkeys(example for episode in chosen for example in episode.support)
    return replace(chosen[0], support=tuple(examples))


def _with_progress(
    listed: list[ListedEpisode],
    segmenter: Any,
    settings: EvaluationSettings,
    told: dict[str, None],
    keep_shown: int,
) -> Evaluation:
    """Evaluate, and print warnings that were not `told` yet: also where no episode could be run."""
    from rich.console import Console
    from rich.progress import Progress

    from hdm_pipeline.evaluation.evaluate import evaluate as run_evaluation

    warnings: list[str] = []
    try:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            bar = progress.add_task("episodes", total=len(listed))

            def done(result: EpisodeResult) -> None:
                warnings.extend(result.warnings)
                progress.advance(bar)

            return run_evaluation(listed, segmenter, settings, keep_shown=keep_shown, on_episode=done)
    finally:
        for line in warnings:
            if line not in told:
                _warn(line)
            told[line] = None


def _warn(line: str) -> None:
    typer.echo(f"warning: {line}", err=True)


def _exit_if_left_out(evaluations: Iterable[Evaluation]) -> None:
    """Name the episodes that could not be used, with whole masks and with points, and end with their exit code."""
    left_out = False
    for found in evaluations:
        points = found.settings.points
        by = "" if points is None else f", with {points} labelled pixels of each class"
        for failed in found.failed[:_FAILURES_SHOWN]:
            typer.echo(f"line {failed.episode.line} left out{by}: {failed.error}", err=True)
        if found.failed:
            typer.echo(f"{len(found.failed)} of {len(found.results)} episodes left out{by}", err=True)
        left_out |= bool(found.failed)
    if left_out:
        raise typer.Exit(_PARTLY_FAILED)


def _table(found: Evaluation) -> str:
    """Figures of each task and the means, for people."""
    summary, baseline = found.summary, found.baseline_summary
    width = max(12, *(len(name) for name in summary.tasks))
    lines = [f"{'task':{width}}  episodes    IoU  [95 % interval]   Dice" + ("   baseline" if baseline else "")]
    for name, figures in summary.tasks.items():
        low, high = figures.iou_interval
        beside = f"      {baseline.tasks[name].iou:.3f}" if baseline else ""
        ious = f"{figures.iou:.3f}  [{low:.3f}, {high:.3f}]"
        lines.append(f"{name:{width}}  {figures.episodes:8d}  {ious}  {figures.dice:.3f}{beside}")
    low, high = summary.mean_iou_interval
    beside = f"               {baseline.mean_iou:.3f}" if baseline else ""
    count = sum(figures.episodes for figures in summary.tasks.values())
    lines.append(f"{'mean (mIoU)':{width}}  {count:8d}  {summary.mean_iou:.3f}  [{low:.3f}, {high:.3f}]{beside}")
    lines.append(f"FB-IoU {summary.fb_iou:.3f}" + _empty_text(summary.empty_false_share))
    facts = found.as_dict()
    lines.append(_outline_text(facts["boundary_f1"].values(), facts["calibration_error"]))
    lines.append(_seconds_text(facts["seconds_per_query"], facts["seconds_per_adaptation"]))
    return "\n".join(lines)


def _empty_text(share: float | None) -> str:
    return "" if share is None else f"; queries without target: {100 * share:.2f} % of their pixels called target"


def _outline_text(boundaries: Iterable[float | None], error: float | None) -> str:
    known = [value for value in boundaries if value is not None]
    outlines = f"boundary F1 {sum(known) / len(known):.3f} (mean of tasks)" if known else "no outlines"
    return outlines + ("" if error is None else f"; expected calibration error {error:.3f}")


def _seconds_text(query: float | None, adaptation: float | None) -> str:
    text = f"{query:.2f} s a query" if query is not None else ""
    return text + (f", {adaptation:.1f} s an adaptation" if adaptation is not None else "")


def _step_line() -> Callable[[int, int, float], None]:
    def show(step: int, most: int, loss: float) -> None:
        if step % 20 == 0:
            typer.echo(f"step {step} of at most {most}: loss {loss:.3f}", err=True)

    return show


def _require_folder(path: Path | None) -> None:
    """Fail before the work, not after it."""
    if path is not None and not path.parent.is_dir():
        raise ConfigError("folder of the output does not exist", where=str(path), remedy="create it")
    if path is not None and path.is_dir():
        raise ConfigError("a folder lies where the output is to be", where=str(path), remedy="give the name of a file")


def _write_json(path: Path, facts: Any) -> None:
    """In place, and not by renaming: it may be /dev/stdout."""
    with output_errors(path, setting="--json"):
        path.write_text(json.dumps(facts, indent=1, allow_nan=False) + "\n", encoding="utf-8")
