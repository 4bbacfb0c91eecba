"""Which block of which scene runs next: of the earliest scene first, and in it the lowest.

Scenes that have nothing for a step now are not looked at: an archive of small scenes has many in work at once, and the
driver asks after every message.
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count

from hdm_pipeline.execution.messages import SceneWork
from hdm_pipeline.execution.scene_state import OPENS, SceneState

_STEPS = ("stage", "infer", "stitch", "publish")


class Schedule:
    """The scenes that are being worked on, in the order in which they came.

    Attributes:
        backlog: blocks of all scenes as `SceneState.backlog` counts them.
    """

    def __init__(self) -> None:
        self._numbers = count()
        self._scenes: dict[str, tuple[int, SceneState]] = {}
        self._looked_at: dict[str, list[tuple[int, str]]] = {step: [] for step in _STEPS}
        self._listed: set[tuple[str, int]] = set()
        self.backlog = 0

    def __contains__(self, scene: str) -> bool:
        return scene in self._scenes

    def __getitem__(self, scene: str) -> SceneState:
        return self._scenes[scene][1]

    def add(self, state: SceneState) -> None:
        """A scene comes last."""
        number = next(self._numbers)
        self._scenes[state.work.ref.id] = number, state
        self.backlog += state.backlog
        for step in _STEPS:
            self._look_at(step, number, state.work.ref.id)

    def drop(self, scene: str) -> SceneState | None:
        """A scene is no longer worked on; None if it was not."""
        _, state = self._scenes.pop(scene, (0, None))
        if state is not None:
            self.backlog -= state.backlog
        return state

    def finish(self, scene: str, step: str, block: int, seconds: float) -> None:
        """A step of a block is done."""
        number, state = self._scenes[scene]
        state.finish(step, block, seconds)
        self._look_at(OPENS.get(step, "publish"), number, scene)

    def next(self, step: str) -> tuple[SceneWork, int] | None:
        """The next block to take a step, which counts as given out from now on; None where there is none now."""
        found = self._first(step)
        if found is None:
            return None
        state, block = found
        before = state.backlog
        state.give(step, block)
        self.backlog += state.backlog - before
        return state.work, block

    def complete(self) -> SceneState | None:
        """The next scene to publish, which counts as given out from now on; None where there is none now."""
        while (found := self._top("publish")) is not None:
            self._pass_over("publish")
            if found.complete and not found.publishing:
                found.publishing = True
                return found
        return None

    def all_staged(self) -> bool:
        """Whether every cell of every scene was given out; brings `backlog` up to date."""
        return self._first("stage") is None

    def _first(self, step: str) -> tuple[SceneState, int] | None:
        while (state := self._top(step)) is not None:
            before = state.backlog
            block = state.ready(step)
            self.backlog += state.backlog - before
            if block is not None:
                return state, block
            self._pass_over(step)
        return None

    def _top(self, step: str) -> SceneState | None:
        """The earliest scene that may have something for a step."""
        scenes = self._looked_at[step]
        while scenes:
            number, scene = scenes[0]
            known, state = self._scenes.get(scene, (-1, None))
            if state is not None and known == number:
                return state
            self._pass_over(step)
        return None

    def _look_at(self, step: str, number: int, scene: str) -> None:
        """From now on a scene may have something for a step."""
        if (step, number) not in self._listed:
            self._listed.add((step, number))
            heappush(self._looked_at[step], (number, scene))

    def _pass_over(self, step: str) -> None:
        """The earliest scene has nothing for a step, till one of its blocks is finished."""
        number, _ = heappop(self._looked_at[step])
        self._listed.discard((step, number))
