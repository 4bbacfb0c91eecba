"""Whether Ray can start here: by what it needs, or by starting and ending one."""

from __future__ import annotations

import importlib.metadata
import socket
import tempfile
from collections.abc import Iterator

from hdm_pipeline.diagnosis.finding import Finding, ok, problem, reason, warning

_LONGEST_TEMP = 40
"""Letters. Ray's sockets lie below the temporary folder, and Linux allows 107 letters for the whole path."""

_INLINE = "run with --executor inline"


def ray_findings() -> Iterator[Finding]:
    """What can be told without starting anything, nor loading ray."""
    try:
        version = importlib.metadata.version("ray")
    except importlib.metadata.PackageNotFoundError:
        yield problem("ray", "not installed", f"pip install ray, or {_INLINE}")
        return
    try:
        length = len(tempfile.gettempdir())
        with socket.create_server(("127.0.0.1", 0)):
            pass
    except OSError as error:
        yield problem("ray", f"ray {version}; no temporary folder or port on 127.0.0.1: {reason(error)}", _INLINE)
        return
    if length > _LONGEST_TEMP:
        yield warning("ray", f"ray {version}; the temporary folder's path is long", "set RAY_TMPDIR to a short path")
        return
    yield ok("ray", f"ray {version}; what it needs is there (--start tries it)")


def started_ray_findings() -> Iterator[Finding]:
    """Start a Ray as a run does, let it do one task, and end it."""
    try:
        import ray

        from hdm_pipeline.config.schema import Execution
        from hdm_pipeline.execution.cluster import cluster

        with cluster(Execution()) as shares:
            answer = ray.get(ray.remote(_answer).remote(), timeout=60)
        told = f"ray {ray.__version__} started, did a task and ended; a run would have {shares.actors} model actors"
    except Exception as error:  # noqa: BLE001 - Ray may raise anything where it cannot start
        yield problem(
            "ray", f"could not be started: {reason(error)}", "see shared memory and disk above; or run inline"
        )
        return
    yield ok("ray", told) if answer else problem("ray", "a task gave a wrong answer", "reinstall ray")


def _answer() -> bool:
    return True
