"""The file of a ledger: made, checked, opened for writing or reading; what SQLite says, in our words."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

from hdm_pipeline.errors import HdmError, LedgerError, OutputError

Status = Literal["running", "done", "quarantined", "vanished"]

_VERSION = 1
"""Of the schema (PRAGMA user_version)."""

_APPLICATION = 0x48444D4C
"""PRAGMA application_id: "HDML", so that a stranger's SQLite file is told from ours."""

SCHEMA = f"""
BEGIN;
CREATE TABLE scenes (
    id TEXT PRIMARY KEY,
    product_key TEXT NOT NULL,
    score_key TEXT NOT NULL,
    stage_key TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ({", ".join(f"'{status}'" for status in get_args(Status))})),
    outputs TEXT NOT NULL,
    error TEXT,
    info TEXT NOT NULL,
    updated INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE receipts (
    scene_key TEXT NOT NULL,
    step TEXT NOT NULL,
    block INTEGER NOT NULL,
    seconds REAL NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (scene_key, step, block)
) STRICT, WITHOUT ROWID;
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
COMMIT;
"""

_REBUILD = "run again with --rebuild-ledger: the file is renamed and all scenes are done again; products stay"


def connect(path: Path) -> sqlite3.Connection:
    """A connection for writing; the ledger is made where there is none.

    Raises:
        LedgerError: as `verify`.
        OutputError: it cannot be written.
    """
    with sql_errors(path):
        connection = sqlite3.connect(path, isolation_level=None, timeout=10)
        try:
            if not path.stat().st_size:
                connection.executescript(SCHEMA)
            verify(path, connection)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
        except BaseException:
            connection.close()
            raise
    return connection


def verify(path: Path, connection: sqlite3.Connection) -> None:
    """Refuse what is no sound ledger of this release.

    Raises:
        LedgerError: it is damaged, another program's, or of another version.
    """
    verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise LedgerError(f"the ledger is damaged: {verdict}", where=str(path), remedy=_REBUILD)
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != _APPLICATION:
        raise LedgerError("the file is no ledger of this program", where=str(path), remedy=_REBUILD)
    if version != _VERSION:
        raise LedgerError(
            f"the ledger has version {version}, this release knows version {_VERSION}",
            where=str(path),
            remedy="use the release that wrote it, or another output directory",
        )


def put_aside(path: Path) -> Path:
    """Rename a damaged ledger to ``ledger.sqlite.damaged-N``; gives the new path."""
    number = next(n for n in range(1, 1_000_000) if not path.with_name(f"{path.name}.damaged-{n}").exists())
    for suffix in ("-wal", "-shm"):  # they belong to the damaged file and would be applied to the new one
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return path.rename(path.with_name(f"{path.name}.damaged-{number}"))


def connect_for_reading(path: Path) -> sqlite3.Connection:
    """A connection that writes nothing, whoever else begins to write meanwhile; closed, it leaves nothing behind."""
    if path.with_name(path.name + "-wal").exists():
        mode = "ro"
    elif os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
        mode = "rw"  # SQLite makes its log, by which readers and a run that begins keep apart, and removes it again
    else:
        mode = "ro&immutable=1"  # the log cannot be made; nor can a run of this user begin
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None)
    connection.execute("PRAGMA query_only = ON")
    return connection


@contextmanager
def sql_errors(path: Path) -> Iterator[None]:
    """Say what SQLite says with our errors and a remedy."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translated(error, path) from error
    except UnicodeDecodeError as error:  # what a check says of a damaged file may quote its damage
        raise LedgerError(
            "the ledger is damaged: its text is not readable", where=str(path), remedy=_REBUILD
        ) from error


def _translated(error: sqlite3.Error, path: Path) -> HdmError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the primary code
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return OutputError(
            f"the ledger cannot be written: {error}", where=str(path), remedy="free space on the disk; then run again"
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return OutputError(
            f"the ledger cannot be opened: {error}", where=str(path), remedy="check the folder and its permissions"
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return LedgerError(
            "the ledger is in use by another program", where=str(path), remedy="close it; then run again"
        )
    return LedgerError(f"the ledger is damaged: {error}", where=str(path), remedy=_REBUILD)
