"""An output directory in an object store, and the folder of this node that stands for it: kept alike by the driver.

The folder holds what the driver works with: ledger, report, logs. At the beginning it takes over what the bucket has,
unless it is the very folder that the bucket's copy came from: then it knows more. While the run goes on, the ledger is
copied every half minute, and at the end, with the report and all that lies beside it. Products are uploaded by who
makes them (`output.published`).
"""

from __future__ import annotations

import json
import logging
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hdm_pipeline.contracts import OUTPUT_MARKER
from hdm_pipeline.errors import ObjectStoreError
from hdm_pipeline.objects.folder import ObjectFolder
from hdm_pipeline.output.files import output_errors, write_bytes, write_json
from hdm_pipeline.output.layout import PAGES, Workspace
from hdm_pipeline.output.ledger import sql_errors

CHECKPOINT = 30.0
"""Seconds between two copies of the ledger."""

_LEDGER = f"{OUTPUT_MARKER}/ledger.sqlite"
_NOTE = "bucket.json"
_SHOWN = f"{OUTPUT_MARKER}/report/"
QUICKLOOKS = f"{OUTPUT_MARKER}/quicklooks/"

log = logging.getLogger(__name__)


class BucketOutput:
    """Held while its `with` block runs, by who holds the lock; the ledger is opened after it and closed before.

    Args:
        workspace: of the run.
        bucket: of the workspace.
        every: seconds between two copies.
    """

    def __init__(self, workspace: Workspace, bucket: ObjectFolder, every: float = CHECKPOINT) -> None:
        self._workspace, self._bucket, self._every = workspace, bucket, every
        self._ended = threading.Event()
        self._pushed: dict[str, tuple[int, int]] = {}
        self._thread = threading.Thread(target=self._copy_now_and_then, name="hdm-bucket", daemon=True)

    def __enter__(self) -> Self:
        """Take over what the bucket has.

        Raises:
            ObjectStoreError: the store does not answer, or refuses.
            OutputError: the folder of this node cannot be written.
        """
        take_over(self._workspace, self._bucket)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Copy everything; what is raised within counts more than that this fails.

        Raises:
            ObjectStoreError: the store does not answer, or refuses: the ledger there is an older one.
        """
        self._ended.set()
        self._thread.join()
        try:
            self._copy(last=True)
        except ObjectStoreError as failure:
            if error is None:
                raise
            log.warning("the ledger could not be copied to the bucket: %s", failure.what)

    def fetch_quicklooks(self) -> None:
        """Bring the small pictures here that workers uploaded: the report shows them."""
        fetch(self._workspace, self._bucket, QUICKLOOKS)

    def _copy_now_and_then(self) -> None:
        while not self._ended.wait(self._every):
            try:
                self._copy(last=False)
            except (ObjectStoreError, OSError) as error:  # the next one may go well; the last one must
                log.warning("the ledger could not be copied to the bucket: %s", error)

    def _copy(self, *, last: bool) -> None:
        root = self._workspace.root
        ledger = self._workspace.ledger
        if ledger.is_file() and ledger.stat().st_size:
            tag = self._bucket.put(_LEDGER, _snapshot(ledger))
            write_json(self._workspace.private / _NOTE, {"ledger": tag})
        files = [self._workspace.report]
        if last:
            files += [path for path in root.iterdir() if path.is_file()]
            folders = (root / PAGES, self._workspace.page_parts, self._workspace.logs)
            files += [path for folder in folders for path in folder.rglob("*") if path.is_file()]
            files.append(self._workspace.metrics)
        for path in dict.fromkeys(files):
            self._put(path)

    def _put(self, path: Path) -> None:
        """Upload a file unless it is the one that was uploaded last."""
        with suppress(FileNotFoundError):
            status = path.stat()
            known = status.st_size, status.st_mtime_ns
            key = path.relative_to(self._workspace.root).as_posix()
            if self._pushed.get(key) != known:
                self._bucket.put(key, path.read_bytes())
                self._pushed[key] = known


@contextmanager
def borrowed(workspace: Workspace, *, pictures: bool = False) -> Iterator[Workspace]:
    """Within: the output as it is now, to be read on this node. On a disk that is the directory itself.

    Of an object store ledger and report are fetched into a folder that is removed afterwards: the folder that stands
    for it may be that of a run that goes on.

    Args:
        workspace: of the output.
        pictures: fetch what `report.html` shows, too.

    Raises:
        ObjectStoreError: the store does not answer, or refuses.
    """
    bucket = workspace.bucket
    if bucket is None:
        yield workspace
        return
    with tempfile.TemporaryDirectory(prefix="hdm-output-") as name:
        here = Workspace(Path(name), bucket, workspace.work)
        here.create()
        for key in (_LEDGER, here.report.name):
            if (content := bucket.get(key)) is not None:
                write_bytes(here.root / key, content)
        for prefix in (_SHOWN, QUICKLOOKS) if pictures else ():
            fetch(here, bucket, prefix)
        yield here


def upload_pages(workspace: Workspace, bucket: ObjectFolder) -> None:
    """Upload the report's pages.

    Raises:
        ObjectStoreError: the store does not answer, or refuses.
    """
    for path in (*workspace.pages.glob("*.html"), workspace.page):  # the first page last: it names the others
        bucket.put(path.relative_to(workspace.root).as_posix(), path.read_bytes())


def take_over(workspace: Workspace, bucket: ObjectFolder) -> None:
    """Make the folder of this node know what the bucket knows.

    Raises:
        ObjectStoreError: the store does not answer, or refuses.
        OutputError: the folder cannot be written.
    """
    note = workspace.private / _NOTE
    mine = _noted(note)
    there = bucket.tag(_LEDGER)
    if there == mine:
        return  # what lies here is what was copied, and perhaps newer; or nothing was ever copied from here
    with output_errors(workspace.ledger):
        for name in ("", "-wal", "-shm"):
            workspace.ledger.with_name(workspace.ledger.name + name).unlink(missing_ok=True)
        workspace.report.unlink(missing_ok=True)
    found = bucket.get_tagged(_LEDGER)
    if found is None:
        with output_errors(note):
            note.unlink(missing_ok=True)
        return
    content, tag = found
    write_bytes(workspace.ledger, content)
    fetch(workspace, bucket, _SHOWN)
    report = bucket.get(workspace.report.name)
    if report is not None:
        write_bytes(workspace.report, report)
    write_json(note, {"ledger": tag})


def fetch(workspace: Workspace, bucket: ObjectFolder, prefix: str) -> None:
    """Bring objects here that are not here, or of another size."""
    for key, size in bucket.keys(prefix):
        target = workspace.root / key
        if target.is_file() and target.stat().st_size == size:
            continue
        content = bucket.get(key)
        if content is not None:
            with output_errors(target):
                target.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(target, content)


def _noted(note: Path) -> str | None:
    """The tag of the copy that came from this folder, or that it was taken from."""
    try:
        found: Any = json.loads(note.read_bytes())["ledger"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(found)


def _snapshot(ledger: Path) -> bytes:
    """A whole, consistent copy of a ledger that is being written."""
    with sql_errors(ledger), closing(sqlite3.connect(ledger)) as source, closing(sqlite3.connect(":memory:")) as copy:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")
        return bytes(copy.serialize())
