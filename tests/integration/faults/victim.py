"""A run that sends its own process a signal at a chosen moment: `python victim.py PIPELINE MOMENT COUNT [SIGNAL]`.

MOMENT is where: `event:STEP` after that step's receipt is in the ledger, `ledger` between a receipt and the ledger,
`rename` before a file is renamed into place, `renamed` just after, `mask` while a product is being written.
COUNT is the how-manieth time; SIGNAL is SIGKILL unless given.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.reporting.events import Event, StepDone


def main(pipeline: str, moment: str, count: int, number: signal.Signals = signal.SIGKILL) -> None:
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


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), *(signal.Signals[name] for name in sys.argv[4:]))
