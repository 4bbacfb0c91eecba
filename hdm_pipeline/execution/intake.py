"""What becomes of scenes that arrive: what they turned out to hold is noted, and their files go when none needs them.

One entry of a remote archive may hold many scenes. They are handed out one by one, as there is room for them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path

from hdm_pipeline.errors import FetchError
from hdm_pipeline.execution.arrivals import Arrivals, Arrived, NotArrived
from hdm_pipeline.execution.messages import RunContext
from hdm_pipeline.output.ledger import Ledger
from hdm_pipeline.planning import contents
from hdm_pipeline.planning.contents import Contents
from hdm_pipeline.planning.keys import PendingScene
from hdm_pipeline.reporting.events import Listener, SceneSplit


class Intake:
    """The scenes of a run as the driver takes them; used by one thread.

    Args:
        scenes: as they come.
        context: of the run.
        ledger: told what entries hold.
        tell: the same for whoever listens.
        sweep: removes a folder, now or later.
    """

    def __init__(
        self,
        scenes: Arrivals,
        context: RunContext,
        ledger: Ledger,
        tell: Listener,
        sweep: Callable[[Path], object],
    ) -> None:
        self._scenes = scenes
        self._config, self._workspace = context.config, context.workspace
        self._ledger, self._tell, self._sweep = ledger, tell, sweep
        self._waiting: deque[PendingScene] = deque()
        self._fetched: dict[str, str] = {}

    def take(self) -> PendingScene | NotArrived | None:
        """The next scene that is here, or cannot be; None if all that are left are on their way, or there is none.

        Raises:
            HdmError: one does not come for a reason that the next one would meet, too.
        """
        while not self._waiting:
            arrival = self._scenes.take()
            if arrival is None:
                return None
            if isinstance(arrival, NotArrived):
                return self._missed(arrival)
            self._arrived(arrival)
        return self._waiting.popleft()

    @property
    def expects(self) -> bool:
        """Whether a scene may come while something else is waited for."""
        return self._scenes.fetching

    def wait(self) -> bool:
        """Wait a little for a scene to arrive; False where there is none to wait for."""
        return bool(self._waiting) or self._scenes.wait()

    def ended(self, scene: str) -> None:
        """Remove the files that were fetched for a scene, once nothing that came with it needs them."""
        whole = self._fetched.pop(scene, None)
        if whole is not None and whole not in self._fetched.values():
            self._sweep(self._workspace.fetched_folder(whole))

    def _missed(self, arrival: NotArrived) -> NotArrived:
        if arrival.error.scope == "run":
            raise arrival.error
        planned = arrival.planned
        if not isinstance(arrival.error, FetchError):
            # The next run does not ask for it again: what came of it would lie there for ever.
            self._fetched[planned.ref.id] = planned.ref.id
            contents.note(self._ledger, self._config, planned.ref.id, planned.keys, Contents((planned.ref.id,), ()))
        return arrival

    def _arrived(self, arrival: Arrived) -> None:
        planned = arrival.planned
        self._waiting.extend(arrival.scenes)
        if not planned.ref.remote:
            return
        whole = planned.ref.id
        self._fetched |= {scene.ref.id: whole for scene in arrival.scenes}
        reasons = tuple(skipped.reason for skipped in arrival.left_out)
        found = None if arrival.parts is None else Contents(arrival.parts, reasons)
        contents.note(self._ledger, self._config, whole, planned.keys, found, arrival.seconds)
        if arrival.parts is not None:
            self._tell(SceneSplit(scene=whole, parts=arrival.parts, left_out=reasons))
        if not arrival.scenes:
            self._sweep(self._workspace.fetched_folder(whole))
