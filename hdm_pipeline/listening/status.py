"""What a listener has and what became of it, read from its inbox; works while it runs and while it does not."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Any

from hdm_pipeline.config.listen import Listen
from hdm_pipeline.errors import ConfigError
from hdm_pipeline.listening.inbox import hashed, tree_bytes
from hdm_pipeline.listening.listener import settings
from hdm_pipeline.listening.memory import Memory, Row
from hdm_pipeline.listening.snapshot import snapshot
from hdm_pipeline.listening.watched import deliveries_in
from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.reporting.status import quarantined_lines, quarantined_scenes

_SHOWN = 20


def listener_status(pipeline: Pipeline) -> dict[str, Any]:
    """Deliveries by what became of them, and those that somebody should look at.

    Raises:
        ConfigError: the pipeline does not listen, or no listener has ever run.
        OutputError: the queue cannot be read.
        LedgerError: scenes are quarantined, and the ledger that says why is damaged.
        ObjectStoreError: they are, and the store that holds the ledger does not answer.
    """
    asked, root = opened(pipeline)
    filed, watched = folders_of(asked, root)
    with Memory(root / "queue.sqlite", readonly=True) as memory:
        counts, troubled = memory.counts(), memory.troubled()
        waiting = sum(_waits(memory.get(name), folder) for name, folder in {**filed, **watched}.items())
    asks = any(row.outcome == "quarantined" for row in troubled)
    return {
        "inbox": str(root),
        "running": _is_held(root / "listen.lock"),
        "bytes": sum(tree_bytes(one) for one in filed.values()),
        "max_bytes": asked.max_inbox_bytes,
        "waiting": waiting,
        "deliveries": counts,
        "troubled": [
            {"delivery": row.id, "outcome": row.outcome, "scenes": row.scenes, **(row.error or {})} for row in troubled
        ],
        # By scene: the queue does not know which scenes a delivery held, for their names may be those of patients.
        "quarantined": quarantined_scenes(pipeline.workspace) if asks else {},
    }


def listener_text(found: dict[str, Any]) -> str:
    """The status as lines of text."""
    ended = ", ".join(f"{count} {outcome}" for outcome, count in found["deliveries"].items()) or "none yet"
    lines = [
        f"listener  {'running' if found['running'] else 'not running'}",
        f"inbox     {found['inbox']}: {found['bytes']} of at most {found['max_bytes']} bytes",
        f"waiting   {found['waiting']} (arriving, complete or being worked on)",
        f"ended     {ended}",
    ]
    if found["troubled"]:
        lines.append("look at (`listen --again ID` works on one as it is, `--drop ID` removes it)")
    for one in found["troubled"][:_SHOWN]:
        lines.append(f"{one['outcome']} {one['delivery']}: {one.get('type', '')}")
        lines.append(f"  remedy: {one.get('remedy', '')}")
    if len(found["troubled"]) > _SHOWN:
        lines.append(f"  ... and {len(found['troubled']) - _SHOWN} more; --json lists all")
    if found["quarantined"]:
        lines += ["scenes that are quarantined now", *quarantined_lines(found["quarantined"])]
    return "\n".join(lines)


def opened(pipeline: Pipeline) -> tuple[Listen, Path]:
    """As `listener.settings`, of a listener that has run.

    Raises:
        ConfigError: the pipeline does not listen, or no listener has ever run.
    """
    asked, root = settings(pipeline)
    if not (root / "queue.sqlite").is_file():
        raise ConfigError("no listener has run here", where=str(root), remedy="start one: listen PIPELINE")
    return asked, root


def folders_of(asked: Listen, root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """The deliveries in the inbox and those in the watched folder, by hashed name."""
    filed, watched = dict[str, Path](), dict[str, Path]()
    with contextlib.suppress(OSError):
        filed = {one.name: Path(one.path) for one in os.scandir(root / "deliveries")}
    if asked.folder is not None:
        folder = Path(asked.folder)
        with contextlib.suppress(OSError):  # a share that is away for a moment
            watched = {hashed(name): folder / name for name in deliveries_in(folder)[0]}
    return filed, watched


def _waits(row: Row | None, folder: Path) -> bool:
    """Whether a delivery holds files of which nothing is known yet."""
    try:
        seen = snapshot(folder)
    except OSError:  # removed or renamed meanwhile, or it may not be read yet
        return False
    return bool(seen.parts) and (row is None or row.signature != seen.signature)


def _is_held(lock: Path) -> bool:
    try:
        with lock.open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
