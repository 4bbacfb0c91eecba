"""Runs: started, watched, stopped; what a run would do; and what it published."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from starlette.responses import FileResponse, Response, StreamingResponse

from hdm_pipeline.errors import NoSuchSceneError
from hdm_studio import answers
from hdm_studio.files import TYPES, published
from hdm_studio.security import PAGE_POLICY, REPORT_POLICY
from hdm_studio.studio import Studio

_LOOK_EVERY = 0.4
"""Seconds between two looks at the log."""

_SIGN_OF_LIFE = 15.0
"""Seconds after which something is sent where nothing happens: so a page that is gone is noticed."""

_TOLD_AT_ONCE = 200
"""Lines of the log that a page is told when it comes; the state sums up those before."""

REPORT = "report.html"


def run_answer(studio: Studio) -> dict[str, Any]:
    """RUN."""
    state, ours = studio.runs.state()
    return answers.run(state, ours, REPORT if (studio.output / REPORT).is_file() else None)


def run_routes(studio: Studio) -> APIRouter:
    """`/api/run` and below, `/api/plan`, `/output`."""
    routes = APIRouter()

    @routes.get("/api/plan")
    def plan() -> dict[str, int]:
        """What a run would do now; done again are those of which products lie there, made of what has changed since."""
        scenes = studio.session.scenes()
        counts = Counter(one.state for one in scenes)
        again = sum(one.state in ("new", "unreadable") and bool(one.outputs) for one in scenes)
        return {
            "scenes": len(scenes),
            "pending": counts["new"] + counts["unreadable"] + counts["running"],
            "again": again,
            "done": counts["done"],
            "quarantined": counts["quarantined"],
        }

    @routes.post("/api/run")
    def start() -> dict[str, Any]:
        studio.runs.start()
        return run_answer(studio)

    @routes.post("/api/run/stop")
    def stop() -> dict[str, Any]:
        studio.runs.stop()
        return run_answer(studio)

    @routes.get("/api/run/events")
    async def events() -> Response:
        headers = {"x-accel-buffering": "no"}
        return StreamingResponse(_events(studio), media_type="text/event-stream", headers=headers)

    @routes.get("/output/{path:path}")
    def output(path: str) -> Response:
        file = published(studio.output, path, _outputs(studio, path))
        kind = TYPES.get(file.suffix)
        policy = {"content-security-policy": PAGE_POLICY if kind is None else REPORT_POLICY}
        if kind is not None:
            return FileResponse(file, media_type=kind, headers=policy)
        return FileResponse(file, media_type="application/octet-stream", filename=Path(path).name, headers=policy)

    return routes


def _outputs(studio: Studio, path: str) -> tuple[str, ...]:
    try:
        return studio.session.scene(path.split("/")[0]).outputs
    except NoSuchSceneError:
        return ()


async def _events(studio: Studio) -> AsyncIterator[str]:
    """Lines of the event log as they are written, and RUN whenever it changes."""
    follower = studio.session.follow()
    told: dict[str, Any] = {}
    sent = 0.0
    while not studio.closing.is_set():
        records = await asyncio.to_thread(follower.poll)
        state = await asyncio.to_thread(run_answer, studio)
        lines = [_event("log", record) for record in records[-_TOLD_AT_ONCE:]]
        if state != told:
            lines.append(_event("run", state))
            told = state
        if not lines and time.monotonic() - sent > _SIGN_OF_LIFE:
            lines.append(": still here\n\n")
        if lines:
            yield "".join(lines)
            sent = time.monotonic()
        await asyncio.sleep(_LOOK_EVERY)


def _event(name: str, value: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(value)}\n\n"
