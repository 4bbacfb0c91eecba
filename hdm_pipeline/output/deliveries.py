"""What was sent to whom: a table of its own in the ledger's file.

It is written by the threads that send, each with a connection of its own, while the driver writes what it knows of
scenes. Every call is one short transaction, so that neither waits for the other. Addresses hold no secrets
(`config.send`), file names are relative to the output directory, answers are the peers' words without patient data.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hdm_pipeline.output.ledger_file import connect_for_reading, sql_errors

_TABLE = """
CREATE TABLE IF NOT EXISTS deliveries (
    peer TEXT NOT NULL,
    scene TEXT NOT NULL,
    product_key TEXT NOT NULL,
    products TEXT NOT NULL,
    complete INTEGER NOT NULL,
    receipts TEXT NOT NULL,
    error TEXT,
    PRIMARY KEY (peer, scene)
) STRICT, WITHOUT ROWID
"""

_COLUMNS = "peer, scene, product_key, products, complete, receipts, error"


@dataclass(frozen=True)
class Delivered:
    """The receipt of one file.

    Attributes:
        product: that it belongs to.
        sha256: of the file that the peer holds.
        answer: the peer's.
        when: UTC, ISO 8601; for people, nothing is decided by it.
    """

    product: str
    sha256: str
    answer: str
    when: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))


@dataclass(frozen=True)
class Delivery:
    """What is known of one scene at one peer.

    Attributes:
        peer: its address.
        scene: id of the scene.
        product_key: what the products were made from and with, as `SceneRecord.product_key`.
        products: that the peer is to get, sorted.
        complete: the peer holds all of them.
        receipts: of files, by name relative to the output directory.
        error: `what` and `remedy` of why it is not complete; None where it is, or where the sending was cut off.
    """

    peer: str
    scene: str
    product_key: str
    products: tuple[str, ...]
    complete: bool = False
    receipts: Mapping[str, Delivered] = field(default_factory=dict)
    error: Mapping[str, str] | None = None


class Deliveries:
    """The open table; a context manager. Used by one thread.

    Args:
        path: of the ledger, which exists.

    Raises:
        LedgerError, OutputError: as `Ledger.open`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with sql_errors(path):
            self._connection = sqlite3.connect(path, isolation_level=None, timeout=30)
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute(_TABLE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def of(self, peer: str) -> dict[str, Delivery]:
        """What is known of a peer, by scene."""
        query = f"SELECT {_COLUMNS} FROM deliveries WHERE peer = ?"
        with sql_errors(self._path):
            return {row[1]: _delivery(row) for row in self._connection.execute(query, (peer,))}

    def record(self, deliveries: Iterable[Delivery]) -> None:
        """Add deliveries, or replace what is known of them, in one transaction."""
        rows = [_row(delivery) for delivery in deliveries]
        with sql_errors(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany("INSERT OR REPLACE INTO deliveries VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")


def read_deliveries(path: Path) -> list[Delivery]:
    """All deliveries that a ledger knows, by peer and scene; none where nothing was ever sent.

    Args:
        path: of the ledger, which exists and is sound; it may be written to meanwhile.
    """
    with _reading(path) as connection:
        query = f"SELECT {_COLUMNS} FROM deliveries ORDER BY peer, scene"
        return [_delivery(row) for row in connection.execute(query)] if _any_sent(connection) else []


def read_unsettled(path: Path) -> tuple[list[str], list[Delivery]]:
    """Scenes of whose present products some peer may lack something, and what is known of these at any peer.

    What is settled, mostly all of a million, is passed over by SQLite: only what is given back is made here.

    Args:
        path: as for `read_deliveries`.

    Returns:
        Ids of scenes in their order, and deliveries by peer and scene.
    """
    with _reading(path) as connection:
        connection.execute("BEGIN")  # both questions are about one moment: a scene that is sent in between is not owed
        if not _any_sent(connection):
            return [scene for (scene,) in connection.execute(_ASKED_FOR)], []
        scenes = [scene for (scene,) in connection.execute(f"{_UNSETTLED} ORDER BY id")]
        query = f"SELECT {_COLUMNS} FROM deliveries WHERE scene IN ({_UNSETTLED}) ORDER BY peer, scene"
        return scenes, [_delivery(row) for row in connection.execute(query)] if scenes else []


_ASKED_FOR = """
SELECT id FROM scenes
WHERE status IN ('done', 'vanished') AND json_array_length(info, '$.send') > 0 ORDER BY id
"""

_UNSETTLED = """
SELECT id FROM scenes
WHERE status IN ('done', 'vanished') AND (
    id IN (SELECT scene FROM deliveries WHERE NOT complete)
    OR EXISTS (
        SELECT 1 FROM json_each(info, '$.send') AS asked WHERE NOT EXISTS (
            SELECT 1 FROM deliveries AS one
            WHERE one.peer = asked.value AND one.scene = scenes.id AND one.product_key = scenes.product_key
        )
    )
)
"""


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    with sql_errors(path), closing(connect_for_reading(path)) as connection:
        yield connection


def _any_sent(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'deliveries'").fetchone() is not None


def _row(delivery: Delivery) -> tuple[Any, ...]:
    return (
        delivery.peer,
        delivery.scene,
        delivery.product_key,
        json.dumps(list(delivery.products)),
        int(delivery.complete),
        json.dumps({name: vars(receipt) for name, receipt in delivery.receipts.items()}),
        None if delivery.error is None else json.dumps(dict(delivery.error)),
    )


def _delivery(row: tuple[Any, ...]) -> Delivery:
    peer, scene, product_key, products, complete, receipts, error = row
    return Delivery(
        peer,
        scene,
        product_key,
        tuple(json.loads(products)),
        bool(complete),
        {name: Delivered(**receipt) for name, receipt in json.loads(receipts).items()},
        None if error is None else json.loads(error),
    )
