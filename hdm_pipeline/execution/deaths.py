"""What is said of a step that kills workers."""

from __future__ import annotations

from hdm_pipeline.errors import SceneError, TileError
from hdm_pipeline.execution.messages import InferTask, Task, TileIndex


def killer(task: InferTask, tile: TileIndex, reason: str) -> TileError:
    """The error for a tile that was found to kill."""
    window = task.work.grid.tile_window(*tile)
    return TileError(
        f"a tile kills every worker that sees it; last: {reason}",
        where=f"scene {task.scene}, tile {tile}: slice {window.z}, rows {window.y}..{window.bottom}, "
        f"columns {window.x}..{window.right}",
        remedy="look at these pixels; leave the scene out, or lower tiling.size if memory ran out",
    )


def deadly(task: Task, reason: str) -> SceneError:
    """The error for a step that kills again and again."""
    return SceneError(
        f"step {task.step} killed {task.attempt} workers; last: {reason}",
        where=f"scene {task.scene}" + (f", block {task.block}" if task.block >= 0 else ""),
        remedy="the file may be damaged, or need more memory than there is: open it with another program, or leave it "
        "out with input.exclude",
    )
