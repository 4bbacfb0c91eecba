"""What became of deliveries, across restarts: one row each, in the inbox's `queue.sqlite`.

Only outcomes are kept. That a delivery waits needs no row: it lies in the inbox or the watched folder, and has no
outcome for what it holds now. So nothing can be forgotten: a process that is killed leaves the delivery without its
outcome, and the next one does it again, which costs nothing that was finished.

A row stays when its files are gone, for only so a late file of a study is known to be late. It takes 200 bytes, and 50
more for each further series: 400 MB for a million studies of five.

Beside it are wishes: what somebody asked for by `listen --again` or `--drop`, until the listener has done it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from hdm_pipeline.errors import OutputError

Outcome = Literal["done", "refused", "quarantined", "empty", "held", "failed", "dropped"]
"""done: products are published. refused: and a peer of `output.send` does not take them. quarantined: of some scenes
there are none. empty: it holds no scene. held: it lacks files that were there when it was worked on before. failed: see
`Row.error`; it is tried again at the next start. dropped: somebody wished so."""

Wish = Literal["again", "drop"]

_VERSION = 2
_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS deliveries (
    id TEXT PRIMARY KEY,
    signature TEXT NOT NULL,
    outcome TEXT NOT NULL,
    scenes INTEGER NOT NULL,
    error TEXT,
    parts TEXT NOT NULL,
    seconds REAL NOT NULL,
    finished REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS wishes (id TEXT PRIMARY KEY, wish TEXT NOT NULL) STRICT, WITHOUT ROWID;
PRAGMA user_version = {_VERSION};
COMMIT;
"""
"""One transaction: a kill leaves all of it, or nothing. Version 1 had no wishes."""


@dataclass(frozen=True)
class Row:
    """The outcome of a delivery.

    Attributes:
        id: of the delivery, hashed.
        signature: of the files it held then.
        outcome: what became of it.
        scenes: published, by this run or earlier ones.
        error: type and remedy of what went wrong; never more, for texts may name a patient.
        parts: files of each part when they were last worked on.
        seconds: the run took.
        finished: time of the end, in seconds since 1970.
    """

    id: str
    signature: str
    outcome: Outcome
    scenes: int = 0
    error: Mapping[str, str] | None = None
    parts: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    finished: float = 0.0


class Memory:
    """The open file; a context manager, used by one thread.

    Args:
        path: of the file.
        readonly: open it for `listen --status` only, while a listener may write.

    Raises:
        OutputError: it cannot be opened, is damaged, or of another version.
    """

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        self._path = path
        with _errors(path):
            address = f"{path.absolute().as_uri()}?mode={'ro' if readonly else 'rwc'}"
            self._connection = sqlite3.connect(address, uri=True, isolation_level=None, timeout=10)
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version < _VERSION and not readonly:
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.executescript(_SCHEMA)
                version = _VERSION
        if version != _VERSION and not (readonly and version == 1):
            raise OutputError(
                f"the queue has version {version}, this release knows version {_VERSION}",
                where=str(path),
                remedy="use the release that wrote it, or another listen.inbox",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def get(self, delivery: str) -> Row | None:
        """The outcome of a delivery; None if it has none."""
        with _errors(self._path):
            row = self._connection.execute("SELECT * FROM deliveries WHERE id = ?", (delivery,)).fetchone()
        return None if row is None else _row(row)

    def put(self, row: Row) -> None:
        """Remember an outcome, instead of an earlier one."""
        error = None if row.error is None else json.dumps(dict(row.error))
        parts = json.dumps(dict(row.parts), separators=(",", ":"))
        values = (row.id, row.signature, row.outcome, row.scenes, error, parts, row.seconds, row.finished)
        with _errors(self._path):
            self._connection.execute("INSERT OR REPLACE INTO deliveries VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)

    def forget_failures(self) -> None:
        """Let every failed delivery be tried again."""
        with _errors(self._path):
            self._connection.execute("UPDATE deliveries SET signature = '' WHERE outcome = 'failed'")

    def counts(self) -> dict[str, int]:
        """Deliveries by outcome."""
        with _errors(self._path):
            found = self._connection.execute(
                "SELECT outcome, count(*) FROM deliveries GROUP BY outcome ORDER BY outcome"
            )
            return dict(found.fetchall())

    def troubled(self) -> list[Row]:
        """Deliveries that somebody should look at, the latest first."""
        query = (
            "SELECT * FROM deliveries WHERE outcome IN ('failed', 'held', 'quarantined', 'refused') "
            "ORDER BY finished DESC"
        )
        with _errors(self._path):
            return [_row(row) for row in self._connection.execute(query)]

    def wish(self, delivery: str, wish: Wish) -> None:
        """Note what somebody asks for, instead of what was asked for the delivery before."""
        with _errors(self._path):
            self._connection.execute("INSERT OR REPLACE INTO wishes VALUES (?, ?)", (delivery, wish))

    def wishes(self) -> dict[str, Wish]:
        """What is asked for and not done yet, by delivery."""
        with _errors(self._path):
            return dict(self._connection.execute("SELECT id, wish FROM wishes").fetchall())

    def fulfilled(self, delivery: str, wish: Wish) -> None:
        """A wish is done, unless another one came meanwhile."""
        with _errors(self._path):
            self._connection.execute("DELETE FROM wishes WHERE id = ? AND wish = ?", (delivery, wish))


def _row(values: tuple[Any, ...]) -> Row:
    name, signature, outcome, scenes, error, parts, seconds, finished = values
    told = None if error is None else json.loads(error)
    return Row(name, signature, outcome, scenes, told, json.loads(parts), seconds, finished)


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise OutputError(
            f"the queue of the listener cannot be used: {error}",
            where=str(path),
            remedy="free space or check permissions; if it is damaged, remove it: deliveries are then looked at again",
        ) from error
