"""The page itself, and how a browser is let in."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import FileResponse, RedirectResponse, Response

from hdm_studio.errors import NotSignedInError, NotThereError
from hdm_studio.files import TYPES, page_files
from hdm_studio.security import Door


def page_routes(door: Door) -> APIRouter:
    """`/` and the files of the page, which lie beside it."""
    routes = APIRouter()

    @routes.get("/")
    def entrance(token: str | None = None) -> Response:
        """The page; with the token first the cookie, so that the token does not stay in the address bar."""
        if token is None:
            return _file("index.html")
        if not door.opens_with(token):
            raise NotSignedInError(
                "the token is not that of this studio",
                remedy="open the address that the studio printed when it started",
            )
        return RedirectResponse("/", 303, {"set-cookie": door.set_cookie})

    @routes.get("/{name}")
    def file(name: str) -> Response:
        return _file(name)

    return routes


def _file(name: str) -> Response:
    files = page_files()
    if name not in files:
        raise NotThereError("there is no such page", where=f"/{name}", remedy="open /")
    return FileResponse(files[name], media_type=TYPES[files[name].suffix])
