"""The progress bar of `run`: blocks and scenes done, throughput, time left."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from hdm_pipeline.reporting.events import (
    BlockInferred,
    Event,
    Preparing,
    PreparingStep,
    RunStarted,
    SceneDone,
    SceneQuarantined,
    SceneSplit,
    SceneStarted,
    Stopping,
    SupportChecked,
    WorkerDied,
)
from hdm_pipeline.reporting.support_text import left_text, step_text, support_lines


class ProgressBar:
    """Shows events on a terminal; a context manager. Quarantined scenes are named as they happen."""

    def __init__(self, console: Console) -> None:
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            _TimeLeft(),
            console=console,
        )
        self._scenes = self._bar.add_task("scenes", total=None, note="")
        self._blocks = self._bar.add_task("blocks", total=0, note="")
        self._step: TaskID | None = None
        self._step_name = ("", "")
        self._blocks_left: dict[str, int] = {}
        self._total_blocks = 0
        self.told: set[str] = set()
        """Scenes whose quarantine was shown."""
        self._tiles = 0
        self._start = time.monotonic()

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def _print(self, text: str) -> None:
        console = self._bar.console
        console.print(text, highlight=False, soft_wrap=not console.is_terminal)  # a log is not cut into lines of 80

    def event(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case RunStarted():
                self._bar.update(self._scenes, total=event.scenes)
            case Preparing():
                self._print("reading and checking the labelled examples")
                if event.adapt:
                    self._print("adapting the network to them (this can take minutes; later runs use the result again)")
            case PreparingStep():
                self._show_step(event)
            case SupportChecked():
                if self._step is not None:
                    self._bar.remove_task(self._step)
                    self._step = None
                for name, facts in event.support.items():
                    self._tell_support(name, facts)
            case SceneSplit():
                total = self._bar.tasks[self._scenes].total or 0
                self._bar.update(self._scenes, total=total + len(event.parts) - 1)
            case SceneStarted():
                self._forget_blocks(event.scene)  # a scene that is done once more
                self._blocks_left[event.scene] = event.blocks - event.blocks_done
                self._total_blocks += event.blocks
                self._bar.update(self._blocks, total=self._total_blocks)
                self._bar.advance(self._blocks, event.blocks_done)
            case BlockInferred():
                self._blocks_left[event.scene] = self._blocks_left.get(event.scene, 1) - 1
                self._tiles += event.tiles
                rate = self._tiles / max(time.monotonic() - self._start, 1e-3)
                self._bar.update(self._blocks, advance=1, note=f"{rate:.1f} tiles/s")
            case SceneDone():
                self._bar.advance(self._scenes)
            case SceneQuarantined(error=error):
                self._forget_blocks(event.scene)
                self._bar.advance(self._scenes)
                self.told.add(event.scene)
                self._print(f"[yellow]quarantined[/] {event.scene}: {escape(error.what)}")
                if error.remedy:
                    self._print(f"  remedy: {escape(error.remedy)}")
                if event.stale:
                    self._print(f"  its products are no longer valid and were moved to {event.stale}")
            case WorkerDied():
                self._print(f"[yellow]a worker died[/] at step {event.step} of {event.scene}: {escape(event.reason)}")
            case Stopping():
                preparing = self._step is not None
                when = "before the examples are ready" if preparing else "after the blocks that are being worked on"
                self._print(f"stopping {when}; press Ctrl-C again to stop at once")

    def _show_step(self, event: PreparingStep) -> None:
        """One bar for the preparation: it begins anew with each step."""
        note = left_text(event.seconds_left, at_most=event.doing == "adaptation")
        if self._step is None:
            self._step = self._bar.add_task("", total=event.total, note=note, own_time=True)
        if self._step_name != (event.doing, event.class_name):
            self._step_name = event.doing, event.class_name
            self._bar.reset(self._step, total=event.total, description=step_text(event.doing, event.class_name))
        self._bar.update(self._step, completed=event.done, total=event.total, note=note)

    def _forget_blocks(self, scene: str) -> None:
        """Blocks that nobody will infer count no longer, so that the bar can reach its end."""
        self._total_blocks -= self._blocks_left.pop(scene, 0)
        self._bar.update(self._blocks, total=self._total_blocks)

    def _tell_support(self, name: str, facts: Mapping[str, Any]) -> None:
        """What was found for a class; examples that contradict the others are named."""
        for line in support_lines(name, facts):
            self._print(escape(line))
        mode = facts["mode"]
        if mode["precision"] != "fp32":
            self._print(
                f"  {mode['precision']} is {mode['speedup']:.1f} times as fast as fp32, and "
                f"{mode['agreement']:.2%} of the examples' pixels get the same result"
            )
        for warning in facts.get("warnings", ()):
            about = f"({warning['kind']}) of example {warning['example']}: {warning['what']}"
            self._print(f"[yellow]warning[/] {escape(about)}")
            self._print(f"  remedy: {escape(warning['remedy'])}")
        for example in facts["examples"]:
            if example["contradicts"]:
                self._print(f"[yellow]check example[/] {escape(example['name'])}: {escape(example['note'])}")


class _TimeLeft(TimeRemainingColumn):
    """Time left, but for a bar whose note tells it."""

    def render(self, task: Task) -> Text:
        return Text("") if task.fields.get("own_time") else super().render(task)
