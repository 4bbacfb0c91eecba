"""What a person draws on scenes, and the examples that come of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from hdm_pipeline.grid import Window
from hdm_pipeline.session.strokes import Stroke
from hdm_studio import answers
from hdm_studio.studio import Studio

Coordinate = Annotated[float, Field(ge=-(1 << 31), le=1 << 31, allow_inf_nan=False)]


class NewStroke(BaseModel):
    """What the page sends of a stroke; places are pixels of the scene."""

    model_config = ConfigDict(extra="forbid")

    z: Annotated[int, Field(ge=0)]
    tool: Literal["brush", "eraser", "polygon", "point"]
    value: Annotated[int, Field(ge=0, le=255)]
    radius: Annotated[float, Field(ge=0, le=1 << 16, allow_inf_nan=False)] = 0.0
    points: Annotated[list[tuple[Coordinate, Coordinate]], Field(min_length=1, max_length=20_000)]


class Removal(BaseModel):
    """Which of the session's examples is taken off its scene."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    scene: str
    class_name: str = Field(alias="class")


def label_routes(studio: Studio) -> APIRouter:
    """`/api/scenes/ID/labels`, `/strokes`, `/undo`, `/redo`, and `/api/examples`."""
    routes = APIRouter(prefix="/api")
    session = studio.session

    @routes.get("/scenes/{scene}/labels")
    def drawn(scene: str) -> dict[str, Any]:
        slices = {
            str(z): {str(value): pixels for value, pixels in counts.items()}
            for z, counts in session.drawn(scene).items()
        }
        return {**_steps(scene), "slices": slices}

    @routes.post("/scenes/{scene}/strokes")
    def draw(scene: str, body: NewStroke) -> dict[str, Any]:
        stroke = Stroke(z=body.z, tool=body.tool, value=body.value, radius=body.radius, points=tuple(body.points))
        return _changed(scene, lambda: session.draw(scene, stroke))

    @routes.post("/scenes/{scene}/undo")
    def undo(scene: str) -> dict[str, Any]:
        return _changed(scene, lambda: session.undo(scene))

    @routes.post("/scenes/{scene}/redo")
    def redo(scene: str) -> dict[str, Any]:
        return _changed(scene, lambda: session.redo(scene))

    @routes.get("/examples")
    def examples() -> dict[str, Any]:
        # Asked before the examples are, and after: what is judged in between is not in what is shown.
        before = studio.settling.done
        shown = [answers.example(one) for one in session.examples()]
        return {"examples": shown, "saved": session.saved, "settled": before and studio.settling.done}

    @routes.delete("/examples")
    def remove(body: Removal) -> dict[str, Any]:
        studio.settling.drawn(lambda: session.remove_example(body.scene, body.class_name))
        return examples()

    def _steps(scene: str) -> dict[str, Any]:
        return {"revision": session.revision, "undo": session.can_undo(scene), "redo": session.can_redo(scene)}

    def _changed(scene: str, draw: Callable[[], Window | None]) -> dict[str, Any]:
        window = studio.settling.drawn(draw)
        return {"changed": None if window is None else answers.window(window), **_steps(scene)}

    return routes
