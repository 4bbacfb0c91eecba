"""The pipeline, its classes, and what a page needs to begin."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, StringConstraints

from hdm_pipeline import __version__
from hdm_pipeline.contracts import VolumeGeometry
from hdm_pipeline.session.windows import usual_windows
from hdm_studio import answers
from hdm_studio.routes.runs import run_answer
from hdm_studio.studio import Studio

_COLOR = r"^#[0-9a-fA-F]{6}$"


class NewClass(BaseModel):
    """A class that a person adds."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    color: Annotated[str, StringConstraints(pattern=_COLOR)] | None = None


def state_routes(studio: Studio) -> APIRouter:
    """`/api/state`, `/api/refresh`, `/api/classes`, `/api/save`."""
    routes = APIRouter(prefix="/api")
    session = studio.session

    @routes.get("/state")
    def state() -> dict[str, Any]:
        config, first = session.config, studio.first_header()
        return {
            "pipeline": {"name": config.name, "file": str(studio.file), "writable": studio.writable},
            "kind": "volume" if isinstance(first.geometry, VolumeGeometry) else "raster",
            "classes": answers.classes(session.classes),
            "bands": [str(band) for band in config.input.bands],
            "threshold": config.output.threshold,
            "windows": answers.windows(usual_windows(config, {band.unit for band in first.bands})),
            "revision": session.revision,
            "run": run_answer(studio),
            "version": __version__,
        }

    @routes.post("/refresh")
    def refresh() -> dict[str, int]:
        """The archive as it is now: scenes may have come or gone since it was looked through."""
        session.refresh()
        return {"scenes": len(session.scenes())}

    @routes.post("/classes")
    def add_class(body: NewClass) -> dict[str, Any]:
        session.add_class(body.name, body.color)
        return {"classes": answers.classes(session.classes)}

    @routes.get("/save")
    def text() -> dict[str, str]:
        return {"file": str(studio.file), "text": session.text()}

    @routes.post("/save")
    def save() -> dict[str, Any]:
        saved = session.save()
        return {"file": str(studio.file), "examples": saved, "left_out": session.left_out()}

    return routes
