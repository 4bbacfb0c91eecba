"""The examples are prepared in a thread while the first scenes are staged; what the model needs comes from there.

The thread only computes. What it tells of its steps waits in a queue, and the caller's thread tells it on, so that
listeners are called in one thread as ever.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from hdm_pipeline.execution.messages import RunContext
from hdm_pipeline.options import PREPARING_THREAD
from hdm_pipeline.support.bundle import ModelBundle
from hdm_pipeline.support.steps import OnStep, StepState

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Equipment:
    """What the steps of a run need once the examples are prepared.

    Attributes:
        context: of the run, now complete.
        bundle: for the model actors.
    """

    context: RunContext
    bundle: ModelBundle


class StoppedError(Exception):
    """Ends a preparation that nobody waits for; no HdmError, which would count as a fault of an example."""


class Preparing(Generic[T]):
    """A preparation in a thread; made, polled and closed by one other thread.

    Args:
        work: does it, and tells its steps; what it raises comes out of `poll`.
        equip: makes of its result what the run needs; called in the thread that polls.
        tell: told of the steps, in the thread that polls.
    """

    def __init__(
        self, work: Callable[[OnStep], T], equip: Callable[[T], Equipment], tell: Callable[[StepState], None]
    ) -> None:
        self._equip, self._tell = equip, tell
        self._steps: queue.SimpleQueue[StepState] = queue.SimpleQueue()
        self._stop, self._ended = threading.Event(), threading.Event()
        self._result: T | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), name=PREPARING_THREAD, daemon=True)
        self._thread.start()

    def poll(self, timeout: float = 0.0) -> Equipment | None:
        """What the run needs, once; None as long as it is not there.

        Args:
            timeout: seconds to wait for it.

        Raises:
            HdmError: an example, or the weights, cannot be used.
        """
        ended = self._ended.wait(timeout)
        while not self._steps.empty():
            self._tell(self._steps.get_nowait())
        if not ended:
            return None
        if self._error is not None:
            raise self._error
        result, self._result = self._result, None
        assert result is not None, "polled again after it was there"
        return self._equip(result)

    def close(self) -> None:
        """End it at its next step, and wait for that: nothing half done is kept."""
        self._stop.set()
        self._thread.join()

    def _run(self, work: Callable[[OnStep], T]) -> None:
        # Not kept: it holds the pixels of all examples, which a long run need not carry along.
        try:
            self._result = work(self._on_step)
        except StoppedError:
            return
        except BaseException as error:  # noqa: BLE001 (raised again by `poll`, in the thread that can act on it)
            self._error = error
        self._ended.set()

    def _on_step(self, state: StepState) -> None:
        if self._stop.is_set():
            raise StoppedError
        self._steps.put(state)
