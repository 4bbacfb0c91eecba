"""What was sent to whom: a table of its own in the ledger's file.

It is written by the threads that send, each with a connection of its own, while the driver writes what it knows of
scenes. Every call is one short transaction, so that neither waits for the other. Addresses hold no secrets
(`config.send`), file names are relative to the output directory, answers are the peers' words without patient data.
"""

from __future__ import annotations

import heapq
import json
import sqlite3
import time
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

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


class Lacking(NamedTuple):
    """A scene of which a peer lacks a product.

    Attributes:
        scene: its id.
        asked: the peer was to get it when it was published.
        failed: what was sent last did not come, and it is known why.
        status: of the scene.
    """

    scene: str
    asked: bool
    failed: bool
    status: str

    def owed(self, done: Container[str], vanished: Container[str]) -> bool:
        """Whether it is to be sent: of scenes that are done, and of vanished ones that were to be sent when made."""
        return self.scene in done or (self.asked and self.scene in vanished)


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
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def find(self, peer: str, scene: str) -> Delivery | None:
        """What is known of a scene at a peer; None if nothing is."""
        query = f"SELECT {_COLUMNS} FROM deliveries WHERE peer = ? AND scene = ?"
        with sql_errors(self._path):
            row = self._connection.execute(query, (peer, scene)).fetchone()
        return None if row is None else _delivery(row)

    def lacking(self, peer: str, products: Sequence[str]) -> list[Lacking]:
        """As `read_lacking`."""
        with sql_errors(self._path):
            return _lacking(self._connection, peer, products)

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


class Noted(NamedTuple):
    """What a report tells of a scene at a peer.

    Attributes:
        scene: its id.
        peer: its address.
        product_key: of what was sent.
        complete: the peer holds all that it is to get.
        products: that it is to get, sorted.
        told: `what` and perhaps `remedy`: why it is not complete, else what the peer answered last.
    """

    scene: str
    peer: str
    product_key: str
    complete: bool
    products: tuple[str, ...]
    told: dict[str, str]


def walk_noted(path: Path) -> Iterator[Noted]:
    """What is known of all scenes at all peers, by scene and peer, one after another: there may be a million.

    Args:
        path: of the ledger, which is sound; it may be written to meanwhile. Where it is not there, nothing is known.
    """
    if not path.is_file():
        return
    with _reading(path) as connection:
        peers: list[str] = []
        while _any_sent(connection) and (found := connection.execute(_NEXT_PEER, peers[-1:] or [""]).fetchone()[0]):
            peers.append(found)
        yield from heapq.merge(*(_noted(connection, peer) for peer in peers))


def _noted(connection: sqlite3.Connection, peer: str) -> Iterator[Noted]:
    for scene, product_key, complete, products, error, answer in connection.execute(_NOTED, (peer,)):
        told = json.loads(error) if error is not None else {"what": answer or ""}
        yield Noted(scene, peer, product_key, bool(complete), _listed(products), told)


@lru_cache(maxsize=64)  # a pipeline asks the same of each scene
def _listed(products: str) -> tuple[str, ...]:
    return tuple(json.loads(products))


_NEXT_PEER = "SELECT min(peer) FROM deliveries WHERE peer > ?"
"""One after another by the key: to look for all that differ would read the whole table."""

_NOTED = """
SELECT scene, product_key, complete, products, error,
    (SELECT json_extract(value, '$.answer') FROM json_each(receipts) ORDER BY id DESC LIMIT 1)
FROM deliveries WHERE peer = ? ORDER BY scene
"""


def read_unsettled(path: Path) -> tuple[list[str], list[Delivery]]:
    """Scenes of whose present products some peer may lack something, and what is known of these at any peer.

    What is settled, mostly all of a million, is passed over by SQLite: only what is given back is made here.

    Args:
        path: of the ledger, which exists and is sound; it may be written to meanwhile.

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


def read_lacking(path: Path, peer: str, products: Sequence[str]) -> list[Lacking]:
    """Scenes of whose present products, among those named, a peer lacks one; by id, whatever their status is.

    What the peer has, mostly all of a million, is passed over by SQLite. It finds the same as `delivery.parcel`.

    Args:
        path: of the ledger, which exists and is sound; it may be written to meanwhile.
        peer: its address.
        products: that it is to get, sorted.
    """
    with _reading(path) as connection:
        if not _any_sent(connection):
            connection.execute("PRAGMA query_only = OFF")
            connection.execute(_TABLE.replace("CREATE TABLE", "CREATE TEMPORARY TABLE"))
        return _lacking(connection, peer, products)


def _lacking(connection: sqlite3.Connection, peer: str, products: Sequence[str]) -> list[Lacking]:
    rows = connection.execute(_LACKING, (peer, _names(products)))
    return [Lacking(scene, bool(asked), bool(failed), status) for scene, asked, failed, status in rows]


_LACKING = """
SELECT id, EXISTS (SELECT 1 FROM json_each(info, '$.send') WHERE value = ?1), known.error IS NOT NULL,
    scenes.status
FROM scenes LEFT JOIN deliveries AS known ON known.peer = ?1 AND known.scene = id
WHERE (known.complete AND known.product_key = scenes.product_key AND known.products = ?2) IS NOT TRUE
AND EXISTS (
    SELECT 1 FROM json_each(info, '$.products') AS made
    WHERE made.key IN (SELECT value FROM json_each(?2)) AND made.type = 'array' AND made.value != '[]' AND (
        known.complete AND known.product_key = scenes.product_key
        AND made.key IN (SELECT value FROM json_each(known.products))
    ) IS NOT TRUE
)
ORDER BY id
"""
"""The first condition alone decides of nearly all that is settled, and reads nothing of a scene but its key."""

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
        _names(delivery.products),
        int(delivery.complete),
        json.dumps({name: vars(receipt) for name, receipt in delivery.receipts.items()}),
        None if delivery.error is None else json.dumps(dict(delivery.error)),
    )


def _names(products: Sequence[str]) -> str:
    return json.dumps(list(products))


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
