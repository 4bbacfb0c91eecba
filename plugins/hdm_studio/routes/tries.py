"""Trying a window with the examples as they are, and what to label next."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from hdm_pipeline.contracts import NODATA
from hdm_pipeline.grid import Window
from hdm_studio import answers
from hdm_studio.errors import NotThereError
from hdm_studio.images import heat_rgba, mask_rgba, outline_rgba, png
from hdm_studio.studio import Studio

Place = Annotated[int, Field(ge=0, le=1 << 31)]
Length = Annotated[int, Field(ge=1, le=1 << 31)]


class NewTry(BaseModel):
    """A window to try; `page` tells pages of one browser apart."""

    model_config = ConfigDict(extra="forbid")

    scene: str
    z: Place = 0
    window: tuple[Place, Place, Length, Length]
    uncertainty: bool = False
    page: Annotated[str, Field(max_length=64)] = ""


def try_routes(studio: Studio) -> APIRouter:
    """`/api/try`, `/api/tries`, `/api/suggestions`."""
    routes = APIRouter(prefix="/api")

    @routes.post("/try")
    def new(body: NewTry) -> dict[str, Any]:
        x, y, width, height = body.window
        window = Window(z=body.z, y=y, x=x, height=height, width=width)
        number, found = studio.tries.make(body.page, body.scene, window, uncertainty=body.uncertainty)
        studio.settling.wait()
        return answers.tried(number, found)

    @routes.get("/tries/{number}/mask.png")
    def mask(number: str) -> Response:
        return _png(mask_rgba(studio.tries.get(number).mask, studio.colors))

    @routes.get("/tries/{number}/outline.png")
    def outline(number: str) -> Response:
        return _png(outline_rgba(studio.tries.get(number).mask, studio.colors))

    @routes.get("/tries/{number}/score.png")
    def score(number: str, name: Annotated[str, Query(alias="class")]) -> Response:
        found = studio.tries.get(number)
        names = list(found.pixels)
        if name not in names:
            raise NotThereError("the try knows no such class", where=name, remedy=f"choose among {', '.join(names)}")
        return _png(heat_rgba(found.scores[names.index(name)], found.mask == NODATA))

    @routes.get("/tries/{number}/uncertainty.png")
    def uncertainty(number: str) -> Response:
        found = studio.tries.get(number)
        if found.uncertainty is None:
            raise NotThereError(
                "the try tells no uncertainty", where=number, remedy="ask for it, with a network that tells it"
            )
        return _png(heat_rgba(found.uncertainty, found.mask == NODATA))

    @routes.post("/suggestions")
    def look() -> dict[str, Any]:
        studio.suggestions.start()
        return suggestions()

    @routes.get("/suggestions")
    def suggestions() -> dict[str, Any]:
        job = studio.suggestions
        return {
            "state": job.state,
            "progress": job.progress,
            "error": None if job.error is None else answers.error(job.error),
            "suggestions": [answers.suggestion(one) for one in job.found],
        }

    return routes


def _png(picture: Any) -> Response:
    return Response(png(picture), media_type="image/png")
