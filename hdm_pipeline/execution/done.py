"""What is told and remembered of a scene that is published."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hdm_pipeline.execution.messages import Published, RunContext, SceneWork
from hdm_pipeline.reporting.events import SceneDone


def scene_done(
    work: SceneWork, published: Published, *, tiles: int, blocks: int, seconds: Mapping[str, float] | None = None
) -> SceneDone:
    """The event of a scene that is published.

    Args:
        work: the scene.
        published: what publishing returned.
        tiles: that were inferred.
        blocks: of the scene.
        seconds: of the other steps, where they are known.
    """
    return SceneDone(
        scene=work.ref.id,
        outputs=tuple(path.as_posix() for path in published.outputs),
        tiles=tiles,
        blocks=blocks,
        seconds={**(seconds or {}), "publish": published.seconds},
        warnings=(*work.warnings, *published.warnings),
        measures=published.measures,
        products={name: tuple(p.as_posix() for p in paths) for name, paths in published.products.items()},
    )


def scene_info(context: RunContext, event: SceneDone) -> dict[str, Any]:
    """What the ledger remembers of it. Who is to get the products is noted with them: a killed run owes a delivery."""
    owed = [one.to for one in context.config.output.send]
    return event.facts() | ({"send": owed} if owed else {})
