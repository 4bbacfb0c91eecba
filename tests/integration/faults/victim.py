"""A run in a process of its own that sends itself a signal at a chosen moment.

A moment is where: `event:STEP` after that step's receipt is in the ledger, `ledger` between a receipt and the ledger,
`rename` before a file is renamed into place, `renamed` just after, `mask` while a product is being written.
The count is the how-manieth time.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.reporting.events import Event, StepDone
from tests.forked import start

_PATIENCE = 240.0


def main(pipeline: str, moment: str, count: int, number: signal.Signals) -> None:
    """Run, and die on the way."""
    left = count

    def tick() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), number)

    def before(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            tick()
            return function(*args, **kwargs)

        return wrapped

    def after(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            tick()
            return result

        return wrapped

    def on_event(event: Event) -> None:
        step = event.step if isinstance(event, StepDone) else ""
        if moment in (f"event:{step}", f"event:{event.kind}"):
            tick()

    if moment == "ledger":
        from hdm_pipeline.output.ledger import Ledger

        Ledger.record = before(Ledger.record)  # type: ignore[method-assign]
    elif moment in ("rename", "renamed"):
        os.replace = (before if moment == "rename" else after)(os.replace)
    elif moment == "mask":
        from hdm_pipeline.store.scene import MaskSource

        MaskSource.read = before(MaskSource.read)  # type: ignore[method-assign]
    Pipeline.from_yaml(pipeline).run(on_event=on_event)


def run_with_signal(pipeline: Path, moment: str, count: int, number: signal.Signals = signal.SIGKILL) -> int | None:
    """The exit code of the run, as `multiprocessing` tells it: minus the signal that ended it."""
    process = start(main, str(pipeline), moment, count, number)
    process.join(_PATIENCE)
    if process.exitcode is None:
        process.kill()
    return process.exitcode


def kill_at(pipeline: Path, moment: str, count: int) -> None:
    """Run the pipeline in a process that dies at that moment."""
    assert run_with_signal(pipeline, moment, count) == -signal.SIGKILL
