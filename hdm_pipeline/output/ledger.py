"""What was done: one SQLite file (`ledger_file`), written only by the driver. Nothing else knows SQL.

Scenes and what became of them are kept by scene id, receipts of blocks by (key of the scene's work, step, block). Every
call is one transaction. The journal is a write-ahead log with synchronous=NORMAL: a killed process loses nothing; a
power cut may lose the last transactions, whose work is then done again, but never leaves half of one.

Order is told by a sequence number, never by the clock, which may go backwards. A ledger that is damaged is refused;
`Ledger.open(..., rebuild=True)` renames it and starts an empty one: no product is lost or trusted unseen, but all
scenes are done again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from hdm_pipeline.errors import LedgerError
from hdm_pipeline.output.ledger_file import SCHEMA, Status, connect, connect_for_reading, put_aside, sql_errors, verify

_SCENE_COLUMNS = "id, product_key, score_key, stage_key, status, outputs, error, info, updated"

_BRIEF_COLUMNS = "id, product_key, score_key, status, outputs, error"

_UPSERT = f"INSERT OR REPLACE INTO scenes ({_SCENE_COLUMNS}) VALUES ({', '.join('?' * 9)})"


class SceneRecord(NamedTuple):
    """One scene as the ledger remembers it. A tuple, as a plan makes one for each scene that was ever done.

    Attributes:
        id: of the scene.
        product_key: what its products were, or are to be, made from and with.
        score_key: the same for its scores.
        stage_key: the same for its staged pixels.
        status: what became of it.
        outputs: published files, relative to the output directory.
        error: `HdmError.as_dict` of why it is quarantined; None otherwise.
        info: JSON-able facts, as `run.json` shows them; the error apart.
        updated: sequence number of the last change, set by the ledger; larger is later.
    """

    id: str
    product_key: str
    score_key: str = ""
    stage_key: str = ""
    status: Status = "running"
    outputs: tuple[str, ...] = ()
    error: Mapping[str, Any] | None = None
    info: Mapping[str, Any] = {}
    updated: int = 0


@dataclass(frozen=True)
class Receipt:
    """That a step of a block is done.

    Attributes:
        scene_key: stage key for staging, score key for inference and stitching.
        step: name of the step.
        block: index of the block.
        seconds: wall time.
        detail: JSON-able figures.
    """

    scene_key: str
    step: str
    block: int
    seconds: float
    detail: Mapping[str, Any] = field(default_factory=dict)


class Ledger:
    """An open ledger; a context manager. Make one with `open` or `open_readonly`; used by one thread.

    Attributes:
        path: of the file.
        set_aside: the damaged ledger that this one replaces, where `open` was asked to rebuild; else None.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, set_aside: Path | None = None) -> None:
        self.path = path
        self.set_aside = set_aside
        self._connection = connection
        with sql_errors(path):
            self._sequence: int = connection.execute("SELECT coalesce(max(updated), 0) FROM scenes").fetchone()[0]

    @classmethod
    def open(cls, path: Path, *, rebuild: bool = False) -> Ledger:
        """Open the ledger for writing, and make it where there is none.

        Args:
            path: of the file, in an existing folder.
            rebuild: rename a damaged ledger to ``ledger.sqlite.damaged-N`` and start an empty one.

        Raises:
            LedgerError: it is damaged, no ledger, of a newer version, or in use.
            OutputError: it cannot be written.
        """
        try:
            return cls(path, connect(path))
        except LedgerError:
            if not rebuild or not path.exists():
                raise
        damaged = put_aside(path)
        return cls(path, connect(path), damaged)

    @classmethod
    def open_readonly(cls, path: Path) -> Ledger | None:
        """Open the ledger for reading, also while a run writes to it; None where there is none.

        Raises:
            LedgerError: it is damaged, no ledger, or of a newer version.
        """
        if not path.exists() or path.stat().st_size == 0:
            return None
        with sql_errors(path):
            connection = connect_for_reading(path)
            verify(path, connection)
        return cls(path, connection)

    @classmethod
    def open_readonly_or_empty(cls, path: Path) -> Ledger:
        """Open the ledger for reading; where there is none, one in memory that knows nothing.

        Raises:
            LedgerError: it is damaged, no ledger, or of a newer version.
        """
        ledger = cls.open_readonly(path)
        if ledger is None:
            connection = sqlite3.connect(":memory:", isolation_level=None)
            connection.executescript(SCHEMA)
            ledger = cls(path, connection)
        return ledger

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def upsert_scene(self, record: SceneRecord, forget: Sequence[str] = ()) -> None:
        """Add a scene or replace what is known of it.

        Args:
            record: of the scene.
            forget: keys whose receipts are dropped in the same transaction.
        """
        if not forget:
            self.upsert_scenes([record])
            return
        with self._transaction() as connection:
            connection.execute(_UPSERT, self._row(record))
            connection.executemany("DELETE FROM receipts WHERE scene_key = ?", [(key,) for key in forget])

    def upsert_scenes(self, records: Iterable[SceneRecord]) -> None:
        """Add scenes or replace what is known of them, in one transaction."""
        self._write(_UPSERT, [self._row(record) for record in records])

    def mark_vanished(self, ids: Iterable[str]) -> None:
        """Note that scenes are no longer in the archive; what else is known of them stays."""
        rows = []
        for scene in ids:
            self._sequence += 1
            rows.append((self._sequence, scene))
        self._write("UPDATE scenes SET status = 'vanished', updated = ? WHERE id = ? AND status != 'vanished'", rows)

    def scene(self, scene_id: str) -> SceneRecord | None:
        """What is known of a scene; None if nothing is."""
        with sql_errors(self.path):
            row = self._connection.execute(f"SELECT {_SCENE_COLUMNS} FROM scenes WHERE id = ?", (scene_id,)).fetchone()
        return None if row is None else _record(row)

    def scenes(self, status: Status | None = None) -> list[SceneRecord]:
        """All scenes, or those of one status, by id."""
        return list(self.walk(status))

    def walk(self, status: Status | None = None, *, info: bool = True) -> Generator[SceneRecord]:
        """All scenes, or those of one status, by id, one after another: an archive need not fit into memory.

        Until it is at its end, or closed, it holds on to the moment in which it began.

        Args:
            status: of the scenes.
            info: whether `SceneRecord.info` is read, which is most of a record. Without, it is empty, and so are
                `stage_key` and `updated`.
        """
        columns, made = (_SCENE_COLUMNS, _record) if info else (_BRIEF_COLUMNS, _brief)
        where, values = ("", ()) if status is None else ("WHERE status = ?", (status,))
        with sql_errors(self.path):
            for row in self._connection.execute(f"SELECT {columns} FROM scenes {where} ORDER BY id", values):
                yield made(row)

    def ids(self, status: str) -> list[str]:
        """Ids of all scenes of a status, in their order."""
        with sql_errors(self.path):
            rows = self._connection.execute("SELECT id FROM scenes WHERE status = ? ORDER BY id", (status,))
            return [scene for (scene,) in rows]

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Within: all that is read is of one moment, while a run may write."""
        with sql_errors(self.path):
            self._connection.execute("BEGIN")
        try:
            yield
        finally:
            with sql_errors(self.path):
                self._connection.execute("COMMIT")

    @property
    def sequence(self) -> int:
        """Number of the last change of a scene: what changes after this has a larger `SceneRecord.updated`."""
        return self._sequence

    def counts(self) -> dict[str, int]:
        """Number of scenes by status."""
        with sql_errors(self.path):
            return dict(self._connection.execute("SELECT status, count(*) FROM scenes GROUP BY status"))

    def suspicions(self) -> dict[str, int]:
        """Number of finished scenes by kind of warning that their masks may be nonsense."""
        query = """
            SELECT json_extract(one.value, '$.kind'), count(DISTINCT scenes.id)
            FROM scenes, json_each(info, '$.warnings') AS one
            WHERE status = 'done' AND one.type = 'object' AND json_extract(one.value, '$.suspect')
            GROUP BY 1
        """
        with sql_errors(self.path):
            return {str(kind): scenes for kind, scenes in self._connection.execute(query)}

    def seconds_per_tile(self) -> float | None:
        """Seconds of inference a tile, over all scenes done; None before the first."""
        query = """
            SELECT sum(json_extract(info, '$.seconds.infer')), sum(json_extract(info, '$.tiles')) FROM scenes
            WHERE status = 'done' AND json_extract(info, '$.seconds.infer') > 0
        """
        with sql_errors(self.path):
            seconds, tiles = self._connection.execute(query).fetchone()
        return float(seconds) / tiles if tiles else None

    def record(self, receipts: Sequence[Receipt]) -> int:
        """Note receipts, in one transaction; those that are there already are left as they are.

        Returns:
            How many were new.
        """
        rows = [(r.scene_key, r.step, r.block, r.seconds, _dump(r.detail)) for r in receipts]
        return self._write("INSERT OR IGNORE INTO receipts VALUES (?, ?, ?, ?, ?)", rows)

    def receipts(self, scene_key: str, step: str) -> dict[int, Receipt]:
        """Receipts of a step by block."""
        return self.receipts_of(scene_key).get(step, {})

    def receipts_of(self, *scene_keys: str) -> dict[str, dict[int, Receipt]]:
        """Receipts under the keys of one scene, by step and block; steps without any are not named.

        A step is noted under one kind of key, so that no two of these receipts are of one step and block.
        """
        query = f"""
            SELECT scene_key, step, block, seconds, detail FROM receipts
            WHERE scene_key IN ({", ".join("?" * len(scene_keys))}) ORDER BY step, block
        """
        found: dict[str, dict[int, Receipt]] = {}
        with sql_errors(self.path):
            for key, step, block, seconds, detail in self._connection.execute(query, scene_keys):
                found.setdefault(step, {})[block] = Receipt(key, step, block, seconds, json.loads(detail))
        return found

    def forget(self, scene_key: str, step: str | None = None) -> None:
        """Drop the receipts of a key, or of one step of it: the work is to be done again, or its files are gone."""
        self._write("DELETE FROM receipts WHERE scene_key = ?1 AND (?2 IS NULL OR step = ?2)", [(scene_key, step)])

    def _row(self, record: SceneRecord) -> tuple[Any, ...]:
        self._sequence += 1
        return _row(record, self._sequence)

    def _write(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> int:
        """Run a statement for each row in one transaction; returns how many rows of the table it changed.

        A single statement is a transaction already. To say so in SQL would triple the calls, and after each the
        driver may wait for the interpreter's lock while another thread computes.
        """
        if len(rows) == 1:
            with sql_errors(self.path):
                return self._connection.execute(statement, rows[0]).rowcount
        with self._transaction() as connection:
            return connection.executemany(statement, rows).rowcount

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with sql_errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")


def _row(record: SceneRecord, sequence: int) -> tuple[Any, ...]:
    return (
        record.id,
        record.product_key,
        record.score_key,
        record.stage_key,
        record.status,
        _dump(list(record.outputs)),
        None if record.error is None else _dump(record.error),
        _dump(record.info),
        sequence,
    )


def _record(row: tuple[Any, ...]) -> SceneRecord:
    scene, product_key, score_key, stage_key, status, outputs, error, info, updated = row
    return SceneRecord(
        scene,
        product_key,
        score_key,
        stage_key,
        status,
        _texts(outputs),
        None if error is None else _decoded(error),
        _decoded(info),
        updated,
    )


def _brief(row: tuple[Any, ...]) -> SceneRecord:
    """A record of `_BRIEF_COLUMNS`: each column of a million rows takes a tenth of a second and more."""
    scene, product_key, score_key, status, outputs, error = row
    error = None if error is None else _decoded(error)
    return SceneRecord(scene, product_key, score_key, "", status, _texts(outputs), error)


def _texts(dumped: str) -> tuple[str, ...]:
    """What `_dump` made of a list of texts; where none had to be escaped, mostly, no parser is needed."""
    if "\\" in dumped or dumped == "[]":
        return tuple(_decoded(dumped))
    return tuple(dumped[2:-2].split('","'))


def _decoded(text: str) -> Any:
    """What `_dump` made; a third of the time of `json.loads`, which looks for spaces around it."""
    return _DECODER.raw_decode(text)[0]


_DECODER = json.JSONDecoder()
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def _dump(value: Any) -> str:
    return _ENCODER.encode(value if isinstance(value, list) else dict(value))
