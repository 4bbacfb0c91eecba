"""Scenes: their list, what is known of each, pictures of their pixels and of the last run's mask."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from hdm_pipeline.session.scenes import chosen
from hdm_studio import answers
from hdm_studio.errors import NotThereError, RequestError
from hdm_studio.images import labels_rgba, mask_rgba, outlined, png
from hdm_studio.studio import Studio

Place = Annotated[int, Path(ge=0, le=1 << 31)]
Level = Annotated[int, Path(ge=0, le=31)]


def scene_routes(studio: Studio) -> APIRouter:
    """`/api/scenes` and below, without what is drawn."""
    routes = APIRouter(prefix="/api/scenes")
    session = studio.session

    @routes.get("")
    def scenes(
        state: str = "",
        text: str = "",
        sort: str = "id",
        offset: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> dict[str, Any]:
        known = session.scenes()
        found = chosen(known, state=state, text=text, sort=sort)
        counts = Counter(one.state for one in known)
        part = [answers.scene(one) for one in found[offset : offset + limit]]
        return {"total": len(found), "counts": counts, "scenes": part}

    @routes.get("/{scene}")
    def scene(scene: str) -> dict[str, Any]:
        state, header = session.scene(scene), session.header(scene)
        bands, ranges = session.bands(scene), session.ranges(scene)
        return {**answers.scene(state), **answers.header(header), "ranges": ranges, "bands": bands}

    @routes.get("/{scene}/thumbnail.png")
    def thumbnail(scene: str) -> Response:
        picture, mask = session.thumbnail(scene)
        if mask is not None:
            picture = outlined(picture, mask, studio.colors)
        return _png(png(picture))

    @routes.get("/{scene}/image/{z}/{level}/{x}/{y}.png")
    def image(
        scene: str, z: Place, level: Level, x: Place, y: Place, low: float | None = None, high: float | None = None
    ) -> Response:
        window, size = _tile(studio, scene, z, level, x, y)
        if (low is None) != (high is None):
            raise RequestError("a range has two ends", where="low, high", remedy="give both, or none")
        ranges = None if low is None or high is None else [(low, high)]
        return _png(png(session.picture(scene, window, size, ranges)))

    @routes.get("/{scene}/labels/{z}/{level}/{x}/{y}.png")
    def labels(scene: str, z: Place, level: Level, x: Place, y: Place) -> Response:
        window, size = _tile(studio, scene, z, level, x, y)
        return _png(png(labels_rgba(session.labels(scene, window, size), studio.colors)))

    @routes.get("/{scene}/result/{z}/{level}/{x}/{y}.png")
    def result(scene: str, z: Place, level: Level, x: Place, y: Place) -> Response:
        window, size = _tile(studio, scene, z, level, x, y)
        mask = session.result(scene, window, size)
        if mask is None:
            raise NotThereError("no run has made a mask of this scene", where=scene, remedy="run the pipeline")
        return _png(png(mask_rgba(mask, studio.colors)))

    return routes


def _tile(studio: Studio, scene: str, z: int, level: int, x: int, y: int) -> Any:
    found = answers.tile(studio.session.header(scene).shape, z, level, x, y)
    if found is None:
        where = f"{scene}, slice {z}, level {level}, tile {x}, {y}"
        raise NotThereError("the scene has no such tile", where=where, remedy="load the page again")
    return found


def _png(data: bytes) -> Response:
    return Response(data, media_type="image/png")
