"""The application: all routes behind the guard, and errors as JSON."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from hdm_pipeline.errors import HdmError
from hdm_studio.errors import status_of
from hdm_studio.guard import TELL, TOLD, App, Guard
from hdm_studio.routes.labels import label_routes
from hdm_studio.routes.page import page_routes
from hdm_studio.routes.runs import run_routes
from hdm_studio.routes.scenes import scene_routes
from hdm_studio.routes.state import state_routes
from hdm_studio.routes.tries import try_routes
from hdm_studio.security import Door
from hdm_studio.studio import Studio

_SHOWN = 5
"""Faults of a request that are named."""


def make_app(studio: Studio, door: Door) -> App:
    """The studio as an ASGI application.

    Args:
        studio: the pipeline at work.
        door: lets requests in.
    """
    # Without pages of documentation: they load scripts from elsewhere.
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    for routes in (
        state_routes(studio),
        scene_routes(studio),
        label_routes(studio),
        try_routes(studio),
        run_routes(studio),
        page_routes(door),
    ):
        app.include_router(routes)
    app.add_exception_handler(HdmError, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _unexpected)
    return Guard(app, door, lambda: studio.private)


def _known(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HdmError):
        raise error
    return JSONResponse({"error": error.as_dict()}, status_of(error))


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    request.scope[TOLD] = True
    return JSONResponse({"error": request.scope[TELL](error)}, 500)


def _invalid(_request: Request, error: Exception) -> JSONResponse:
    """What is wrong with a request; not what it held, which may be long."""
    faults = error.errors()[:_SHOWN] if isinstance(error, RequestValidationError) else []
    places = [".".join(str(part) for part in fault["loc"][1:]) or "the request" for fault in faults]
    what = "; ".join(f"{place}: {fault['msg']}" for place, fault in zip(places, faults, strict=True))
    return _answer(400, "RequestError", what or "the request is not understood", "see docs/decisions/studio.md")


def _refused(request: Request, error: Exception) -> JSONResponse:
    """What the web framework refuses by itself: paths and methods that are not there."""
    status = error.status_code if isinstance(error, HTTPException) else 400
    what = "there is no such address" if status == 404 else "this cannot be asked for in this way"
    return _answer(status, "RequestError", what, "see docs/decisions/studio.md", request.url.path)


def _answer(status: int, kind: str, what: str, remedy: str, where: str = "") -> JSONResponse:
    return JSONResponse({"error": {"type": kind, "what": what, "where": where, "remedy": remedy}}, status)
