"""The progress bar of `run`: blocks and scenes done, throughput, time left."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from hdm_pipeline.reporting.events import Event


class ProgressBar:
    """Shows events on a terminal; a context manager. Quarantined scenes are named as they happen."""

    def __init__(self, console: Console) -> None:
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._scenes = self._bar.add_task("scenes", total=None, note="")
        self._blocks = self._bar.add_task("blocks", total=0, note="")
        self._total_blocks = 0
        self._tiles = 0
        self._start = time.monotonic()

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def _tell_supports(self, support: Mapping[str, Any]) -> None:
        """What checking and adapting gave, a line a class; examples that contradict the others are named."""
        for name, facts in support.items():
            steps = facts["adaptation"]["steps"]
            self._bar.console.print(
                f"{name}: {facts['shots']} examples, {steps} steps of adaptation kept{_told(facts['mode'])}",
                highlight=False,
            )
            for example in facts["examples"]:
                if example["contradicts"]:
                    self._bar.console.print(f"[yellow]support[/] {example['name']}: {example['note']}", highlight=False)

    def event(self, event: Event) -> None:
        """Take note of an event."""
        data = event.data
        if event.kind == "run_started":
            self._bar.update(self._scenes, total=data["scenes"])
        elif event.kind == "preparing":
            adapting = ", adapting the weights to them (minutes, once for these supports)" if data["adapt"] else ""
            self._bar.console.print(f"checking and encoding the supports{adapting}", highlight=False)
        elif event.kind == "support_checked":
            self._tell_supports(data["support"])
        elif event.kind == "scene_started":
            self._total_blocks += data["blocks"]
            self._bar.update(self._blocks, total=self._total_blocks)
            self._bar.advance(self._blocks, data["blocks_done"])
        elif event.kind == "step_done" and event.step == "infer":
            self._tiles += data["tiles"]
            rate = self._tiles / max(time.monotonic() - self._start, 1e-3)
            self._bar.update(self._blocks, advance=1, note=f"{rate:.1f} tiles/s")
        elif event.kind == "scene_done":
            self._bar.advance(self._scenes)
        elif event.kind == "scene_quarantined":
            self._bar.advance(self._scenes)
            error = data["error"]
            self._bar.console.print(f"[yellow]quarantined[/] {event.scene}: {error['what']}", highlight=False)
            if error["remedy"]:
                self._bar.console.print(f"  remedy: {error['remedy']}", highlight=False)
        elif event.kind == "worker_died":
            self._bar.console.print(
                f"[yellow]worker died[/] over {event.step} of {event.scene}: {data['reason']}", highlight=False
            )
        elif event.kind == "stopping":
            self._bar.console.print("stopping: blocks in flight are finished; interrupt again to leave at once")


def _told(mode: Mapping[str, Any]) -> str:
    """A faster mode of inference, and what it costs."""
    if mode["precision"] == "fp32":
        return ""
    return f", {mode['precision']}: {mode['speedup']:.1f}x as fast, {mode['agreement']:.2%} of the pixels as in fp32"
