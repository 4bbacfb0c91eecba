"""The folder of a node that stands for an output in a bucket, and what keeps both alike.

The driver works on the folder as on any output directory. What others must see of it is copied to the bucket while it
runs (ledger, `run.json`) and whole at the end. ``.hdm/files.json``, written last, names all that was copied: who finds
another one there than in his folder takes the bucket's.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from hdm_pipeline.contracts import OUTPUT_MARKER
from hdm_pipeline.errors import HdmError, LostLockError, OutputError
from hdm_pipeline.hashing import file_hash
from hdm_pipeline.objects.folder import ObjectFolder
from hdm_pipeline.output.files import remove_tree, write_bytes
from hdm_pipeline.output.layout import PAGES, UPLOADS, Workspace
from hdm_pipeline.output.ledger_file import sql_errors
from hdm_pipeline.output.lock import Lock, holder
from hdm_pipeline.output.manifest import fetch, is_plain
from hdm_pipeline.output.reading import copy_for_reading
from hdm_pipeline.output.work import place_told, settled

CHECKPOINT = 30.0
"""Seconds between two copies of the ledger, while it changes."""

_FIRST = 3.0
"""Seconds before the first copy."""

_INDEX = "files.json"
_SCHEMA = 1
_INDEX_KEY = f"{OUTPUT_MARKER}/{_INDEX}"
_LEDGER = f"{OUTPUT_MARKER}/ledger.sqlite"
_LOGS = f"{OUTPUT_MARKER}/logs/"
_PRIVATE = ("report", "catalogs", "models", "logs")
_AT_ONCE = 8

log = logging.getLogger(__name__)


class Mirror:
    """Keeps a bucket as the folder is, while its `with` block runs; on a disk it does nothing.

    Args:
        workspace: of the run.
        lock: that the run holds; once it is lost nothing is copied.
        every: seconds between two copies.
    """

    def __init__(self, workspace: Workspace, lock: Lock, every: float = CHECKPOINT) -> None:
        self._workspace = workspace
        self._lock = lock
        self._every = every
        self._index: dict[str, Any] = {"generation": 0, "files": {}}
        self._place = ""
        self._seen: object = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="hdm-checkpoints", daemon=True)

    def __enter__(self) -> Self:
        """Take what the bucket has, where that is not what this folder was last copied to.

        Raises:
            ObjectStoreError: the store does not answer, or refuses.
            OutputError: the folder cannot be written.
        """
        bucket = self._workspace.bucket
        if bucket is not None:
            self._index = _taken(self._workspace, bucket) or self._index
            self._place = str(self._index.get("work", ""))
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Copy what there is now.

        Raises:
            LostLockError: another run took the output over: nothing is copied.
            ObjectStoreError: the store does not answer, or refuses; told in the log where the block itself failed.
        """
        bucket = self._workspace.bucket
        if bucket is None:
            return
        self._ended.set()
        self._thread.join()
        if self._lock.lost and error is not None:
            return
        try:
            self._copy(bucket, _all_files(self._workspace), whole=True)
        except (HdmError, OSError) as trouble:
            if error is None:
                raise
            log.warning("what the run did could not be copied to the bucket: %s", trouble)  # what failed first counts
            return
        try:
            if self._lock.confirm():  # a successor's are not touched
                bucket.delete_all(f"{UPLOADS}/")
        except HdmError as trouble:
            log.warning("what other nodes were given is left in the bucket, the next run removes it: %s", trouble)

    def settle(self) -> Workspace:
        """The workspace of the run, with the place where it works; what is left elsewhere of earlier runs is removed.

        Raises:
            ObjectStoreError: the store does not answer, or refuses.
        """
        if self._workspace.bucket is not None:
            self._workspace = settled(self._workspace, self._place)
            self._place = place_told(self._workspace)
        return self._workspace

    def _work(self) -> None:
        bucket, pause = self._workspace.bucket, min(_FIRST, self._every)
        while bucket is not None and not self._ended.wait(pause):
            pause = self._every
            now = _stamp(self._workspace.ledger)
            if now == self._seen or self._lock.lost:
                continue
            try:
                self._copy(bucket, [self._workspace.report], whole=False)
                self._seen = now
            except LostLockError:
                return  # the run sees it, too, and ends
            except (HdmError, OSError) as error:
                log.warning("the ledger could not be copied to the bucket, this is tried again: %s", error)

    def _copy(self, bucket: ObjectFolder, paths: Iterable[Path], *, whole: bool) -> None:
        """Copy the ledger and these files, and say so.

        Args:
            bucket: where to.
            paths: files of the folder.
            whole: these are all: what was copied before and is none of them is removed.

        Raises:
            LostLockError: a run that was held up for long does not write over what its successor did.
        """
        self._lock.require()
        before: Mapping[str, str] = self._index["files"]
        found: dict[str, str] = {}
        if (digest := _copy_ledger(self._workspace, bucket)) is not None:
            found[_LEDGER] = digest
        for path in paths:
            name = path.relative_to(self._workspace.root).as_posix()
            with suppress(FileNotFoundError):  # a file that was replaced this moment comes with the next copy
                digest = file_hash(path)
                if before.get(name) != digest:
                    bucket.put(name, path.read_bytes() if path.stat().st_size < 1 << 20 else path)
                found[name] = digest
        gone = [name for name in before if name not in found and not name.startswith(_LOGS)] if whole else []
        kept = {name: digest for name, digest in before.items() if name not in gone}
        index = {
            "schema": _SCHEMA,
            "generation": int(self._index["generation"]) + 1,
            "id": uuid4().hex,
            "files": {**kept, **found},
            "work": self._place,
        }
        content = json.dumps(index, indent=1).encode()
        self._lock.require()
        bucket.put(_INDEX_KEY, content)
        write_bytes(self._workspace.private / _INDEX, content)
        self._index = index
        for name in gone:
            bucket.delete(name)


def for_reading(workspace: Workspace) -> Workspace:
    """The layout of an output with a folder that holds what a reader of it needs, up to the last copy.

    Where the run goes on on this node, that is its own folder; else one for this copy, which stays as long as this
    process runs.

    Raises:
        ObjectStoreError: the store does not answer, or refuses.
        OutputError: the folder cannot be written, or what the bucket holds is damaged.
    """
    bucket = workspace.bucket
    if bucket is None:
        return workspace
    owner = holder(workspace.lock_place)
    content = bucket.get(_INDEX_KEY)
    # Another user's run, or one that takes what the bucket has at this moment, has no folder to read in.
    if owner is not None and owner["alive"] and workspace.ledger.is_file() and content == _known(workspace):
        return workspace
    base = workspace.root.with_name(f"{workspace.root.name}-seen")

    def fill(folder: Path) -> None:
        _fetch(replace(workspace, root=folder), bucket, content, _parsed(bucket, content))

    return replace(workspace, root=copy_for_reading(base, content or b"", fill))


def put_pages(workspace: Workspace) -> None:
    """Copy the report's pages to the bucket, if the output lies in one.

    Raises:
        ObjectStoreError: the store does not answer, or refuses.
    """
    if workspace.bucket is None:
        return
    for path in [workspace.page, *sorted(workspace.pages.glob("*"))]:
        workspace.bucket.put(path.relative_to(workspace.root).as_posix(), path)


def _taken(workspace: Workspace, bucket: ObjectFolder) -> dict[str, Any] | None:
    """Make the folder as the bucket is, if that was last written by another one; returns the bucket's index."""
    content = bucket.get(_INDEX_KEY)
    index = _parsed(bucket, content)
    if content == _known(workspace) and (index is None or workspace.ledger.is_file() or _LEDGER not in index["files"]):
        return index
    # What was worked on here since the last copy is another run's past.
    remove_tree(workspace.root)
    _fetch(workspace, bucket, content, index)
    return index


def _fetch(workspace: Workspace, bucket: ObjectFolder, content: bytes | None, index: Mapping[str, Any] | None) -> None:
    """Fill an empty folder with what an index names, which is this content."""
    workspace.create()
    if content is None or index is None:
        return
    names = [name for name in index["files"] if is_plain(name) and not name.startswith(_LOGS)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda name: fetch(workspace, bucket, name), names))
    write_bytes(workspace.private / _INDEX, content)


def _known(workspace: Workspace) -> bytes | None:
    """The index that the folder was last alike with."""
    own = workspace.private / _INDEX
    return own.read_bytes() if own.is_file() else None


def _parsed(bucket: ObjectFolder, content: bytes | None) -> dict[str, Any] | None:
    """An index, if it is one that this release writes.

    Raises:
        OutputError: it is not.
    """
    if content is None:
        return None
    where = bucket.at(_INDEX_KEY)
    try:
        index: Any = json.loads(content)
        if index["schema"] != _SCHEMA:
            what, remedy = "the output was written by another release", "use that one, or choose another output"
            raise OutputError(what, where=where, remedy=remedy)
        if isinstance(index["generation"], int) and all(isinstance(name, str) for name in dict(index["files"])):
            return dict(index)
    except (ValueError, TypeError, LookupError):
        pass
    raise OutputError(
        "the list of what a run has copied is damaged",
        where=where,
        remedy="remove this object and run again: scenes that are published are known by their manifests",
    )


def _copy_ledger(workspace: Workspace, bucket: ObjectFolder) -> str | None:
    """Copy the ledger as it is at one moment, while it is written to; returns its hash, None where there is none."""
    if not workspace.ledger.is_file():
        return None
    aside = workspace.private / f".ledger-{os.getpid()}"
    aside.unlink(missing_ok=True)
    try:
        with sql_errors(workspace.ledger):
            source = sqlite3.connect(f"{workspace.ledger.absolute().as_uri()}?mode=ro", uri=True)
            with closing(source), closing(sqlite3.connect(aside)) as target:
                source.backup(target)
        bucket.put(_LEDGER, aside)
        return file_hash(aside)
    finally:
        aside.unlink(missing_ok=True)


def _stamp(ledger: Path) -> object:
    """What changes when the ledger does."""
    found = []
    for path in (ledger, ledger.with_name(ledger.name + "-wal")):
        with suppress(FileNotFoundError):
            status = path.stat()
            found.append((status.st_size, status.st_mtime_ns))
    return found


def _all_files(workspace: Workspace) -> Iterator[Path]:
    """All files of the folder that others are to see, but for products and the ledger."""
    for path in sorted(workspace.root.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            yield path
    for folder in (workspace.root / PAGES, *(workspace.private / name for name in _PRIVATE)):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                yield path
    if workspace.metrics.is_file():
        yield workspace.metrics
