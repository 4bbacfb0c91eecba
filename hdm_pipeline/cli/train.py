"""The command `train`: reads a training file, shows progress, exports the averaged weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hdm_pipeline.training.config import TrainConfig
    from hdm_pipeline.training.trainer import StepReport

WEIGHTS = "weights.safetensors"


def train(
    config: Annotated[Path, typer.Argument(help="Training file, such as pipelines/train_pyramid_small.yaml.")],
    output: Annotated[Path | None, typer.Option(help="Output folder instead of the file's.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Number of steps instead of the file's.")] = None,
    quiet: Annotated[bool, typer.Option(help="No progress bar.")] = False,
) -> None:
    """Train a network; run again to go on after a crash, exactly where the last checkpoint was.

    The output folder gets log.csv (every step), checkpoint.pt and, in the end, weights.safetensors.
    """
    from hdm_pipeline.training.config import TrainConfig

    overrides = [] if output is None else [f"output={json.dumps(str(output.absolute()))}"]
    overrides += [] if steps is None else [f"steps={steps}"]
    written = _train(TrainConfig.load(config, overrides), quiet=quiet)
    typer.echo(f"weights written to {written}")


def _train(config: TrainConfig, *, quiet: bool) -> Path:
    from hdm_pipeline.training.distributed import run_replicas
    from hdm_pipeline.training.trainer import CHECKPOINT, export_weights, run_single

    if config.replicas > 1:
        run_replicas(config)
    else:
        with _Progress(config.steps, quiet=quiet) as progress:
            run_single(config, progress.update)
    written = config.output / WEIGHTS
    export_weights(config, config.output / CHECKPOINT, written)
    return written


class _Progress:
    """A rich progress bar on standard error."""

    def __init__(self, steps: int, *, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("loss {task.fields[loss]:.3f}  validation IoU {task.fields[score]}"),
            console=Console(stderr=True),
            disable=quiet,
        )
        self._task = self._progress.add_task("training", total=steps, loss=float("nan"), score="-")
        self._loss: float | None = None

    def __enter__(self) -> _Progress:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, report: StepReport) -> None:
        """Show a step; the loss is a running mean, single batches differ widely."""
        self._loss = report.loss if self._loss is None else 0.98 * self._loss + 0.02 * report.loss
        self._progress.update(self._task, completed=report.step, loss=self._loss)
        if report.validation is not None:
            self._progress.update(self._task, score=f"{report.validation:.3f}")
