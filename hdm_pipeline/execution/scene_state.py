"""Where one scene stands: which of its steps may run now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from hdm_pipeline.execution.likeness import Tally
from hdm_pipeline.execution.messages import SceneWork, blocks_of
from hdm_pipeline.grid import TileGrid


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
    backlog: int = 0
    _prepared: int = 0

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
            self.done[step] |= set(indices)
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
        given = self.given[step]
        if len(given) == self.blocks:
            return None
        required, source = (self.needs, "stage") if step == "infer" else (self.spills, "infer")
        have = self.done[source]
        return next((b for b in required if b not in given and required[b] <= have), None)

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
        self.done[step].add(block)
        self.seconds[step] = self.seconds.get(step, 0.0) + seconds

    @property
    def complete(self) -> bool:
        """Whether only publishing is left."""
        return len(self.done["stitch"]) == self.blocks
