"""Where one scene stands: which of its steps may run now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from hdm_pipeline.execution.likeness import Tally
from hdm_pipeline.execution.messages import SceneWork, blocks_of
from hdm_pipeline.grid import TileGrid

OPENS = {"stage": "infer", "infer": "stitch"}
"""The step that blocks may take once others have taken this one."""


class _Gate:
    """Blocks that wait for other blocks, and come out by their index once all of those are done.

    Each block is looked at once for each of those it waits for: to look through all blocks whenever one ends would
    take the square of their number.
    """

    def __init__(self, required: Mapping[int, frozenset[int]]) -> None:
        self._missing = {block: len(others) for block, others in required.items()}
        self._waiting: dict[int, list[int]] = {}
        for block, others in required.items():
            for other in others:
                self._waiting.setdefault(other, []).append(block)
        self._open = [block for block, missing in self._missing.items() if missing == 0]
        heapify(self._open)

    def done(self, other: int) -> None:
        """A block that others may wait for is done; what it is told twice counts once."""
        for block in self._waiting.pop(other, ()):
            self._missing[block] -= 1
            if self._missing[block] == 0:
                heappush(self._open, block)

    def first(self, given: set[int]) -> int | None:
        """The lowest block that waits for nothing more and is not among `given`."""
        while self._open and self._open[0] in given:
            heappop(self._open)
        return self._open[0] if self._open else None


@dataclass
class SceneState:
    """Progress of one scene through stage, infer, stitch and publish.

    A block may be inferred when every cell that its tiles read is staged, and stitched when every block that spills
    into its cell is inferred; the scene is published when all its blocks are stitched.

    Attributes:
        work: the scene.
        needs: cells that must be staged before a block is inferred, by block.
        spills: blocks that must be inferred before a cell is stitched, by block.
        seconds: wall time by step, as far as it is done.
        tiles: tiles inferred.
        unlike: what each inferred block counted of pixels that lie far from the examples.
        done: blocks of each step that are done.
        given: blocks of each step that were given to a worker, or need not be.
        publishing: publishing was given to a worker.
        outputs_before: files that earlier runs published of the scene, relative to the output directory.
        backlog: blocks of which every cell is staged, or being staged, and that were not yet given to the model.
    """

    work: SceneWork
    needs: dict[int, frozenset[int]]
    spills: dict[int, frozenset[int]]
    seconds: dict[str, float] = field(default_factory=dict)
    tiles: int = 0
    unlike: list[Tally] = field(default_factory=list)
    done: dict[str, set[int]] = field(default_factory=lambda: {"stage": set(), "infer": set(), "stitch": set()})
    given: dict[str, set[int]] = field(default_factory=lambda: {"stage": set(), "infer": set(), "stitch": set()})
    publishing: bool = False
    outputs_before: tuple[str, ...] = ()
    backlog: int = 0
    _prepared: int = 0
    _gates: dict[str, _Gate] = field(init=False)

    def __post_init__(self) -> None:
        self._gates = {"infer": _Gate(self.needs), "stitch": _Gate(self.spills)}

    @classmethod
    def of(cls, work: SceneWork, grid: TileGrid, tiles_per_block: int) -> SceneState:
        """The state of a scene of which nothing is done."""
        blocks = blocks_of(grid, tiles_per_block)  # their indices count from 0
        needs = {b.index: frozenset(other.index for other in grid.reads(b, blocks)) for b in blocks}
        spills = {b.index: frozenset([b.index, *(other.index for other in grid.neighbors(b, blocks))]) for b in blocks}
        return cls(work, needs, spills)

    def restore(self, stage: Iterable[int], infer: Iterable[int], stitch: Iterable[int]) -> None:
        """Take over what earlier runs finished. A block that is inferred needs no staging for its own sake."""
        for step, indices in (("stage", stage), ("infer", infer), ("stitch", stitch)):
            for block in indices:
                self._done(step, block)
            self.given[step] |= self.done[step]
        wanted = {need for block, needs in self.needs.items() if block not in self.done["infer"] for need in needs}
        self.given["stage"] |= set(self.needs) - wanted

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return len(self.needs)

    def ready(self, step: str) -> int | None:
        """The first block for which `step` may run now and was not given out yet."""
        if step == "stage":
            return self._next_cell()
        return self._gates[step].first(self.given[step])

    def _next_cell(self) -> int | None:
        """The next cell to stage: what the first block that cannot start yet still needs.

        Staging by need, not by row: a wide scene's first block must not wait for a whole row of cells.
        """
        while self._prepared < self.blocks:
            missing = self.needs[self._prepared] - self.given["stage"]
            if missing:
                return min(missing)
            self.backlog += self._prepared not in self.given["infer"]
            self._prepared += 1
        return None

    def give(self, step: str, block: int) -> None:
        """Note that a step was given to a worker."""
        self.given[step].add(block)
        if step == "infer" and block < self._prepared:
            self.backlog -= 1

    def finish(self, step: str, block: int, seconds: float) -> None:
        """Note that a step is done."""
        self._done(step, block)
        self.seconds[step] = self.seconds.get(step, 0.0) + seconds

    def _done(self, step: str, block: int) -> None:
        self.done[step].add(block)
        if step in OPENS:
            self._gates[OPENS[step]].done(block)

    @property
    def complete(self) -> bool:
        """Whether only publishing is left."""
        return len(self.done["stitch"]) == self.blocks
