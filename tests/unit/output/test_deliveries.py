"""The table of deliveries: what a peer has, told again after a crash and beside a ledger that is written to."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from hdm_pipeline.errors import LedgerError
from hdm_pipeline.output.deliveries import Delivered, Deliveries, Delivery, read_unsettled, walk_noted
from hdm_pipeline.output.ledger import Ledger, SceneRecord
from hdm_pipeline.output.ledger_file import connect_for_reading
from hdm_pipeline.reporting.sends import not_sent_lines, undelivered

PEER = "dicomweb://pacs/dicom-web"
RECEIPT = Delivered("segmentation", "ab" * 32, "stored", "2026-01-01T00:00:00Z")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with Ledger.open(tmp_path / "ledger.sqlite"):
        pass
    return tmp_path / "ledger.sqlite"


def test_what_was_recorded_is_read_again(path: Path) -> None:
    whole = Delivery(PEER, "a", "key", ("segmentation",), True, {"a/segmentation.dcm": RECEIPT})
    cut = Delivery(PEER, "b", "key", ("report", "segmentation"), False, {}, {"what": "no", "remedy": "yes"})
    assert list(walk_noted(path)) == []
    with Deliveries(path) as deliveries:
        deliveries.record([whole, cut])
        deliveries.record([Delivery("dimse://A@pacs:104", "a", "key", ("segmentation",))])
    with Deliveries(path) as deliveries:
        assert [deliveries.find(PEER, scene) for scene in ("a", "b", "c")] == [whole, cut, None]
        assert deliveries.find("dimse://B@pacs:104", "a") is None
        deliveries.record([Delivery(PEER, "b", "other", ("report",), True)])
        assert deliveries.find(PEER, "b") == Delivery(PEER, "b", "other", ("report",), True)
    assert [(one.scene, one.peer) for one in walk_noted(path)] == [
        ("a", PEER),
        ("a", "dimse://A@pacs:104"),
        ("b", PEER),
    ]


def test_the_ledger_is_written_meanwhile(path: Path) -> None:
    with Ledger.open(path) as ledger, Deliveries(path) as deliveries:
        for number in range(20):
            ledger.upsert_scene(SceneRecord(f"s{number}", "key", status="done"))
            deliveries.record([Delivery(PEER, f"s{number}", "key", ())])
            assert len(list(walk_noted(path))) == number + 1
        assert len(ledger.scenes()) == 20
    with Ledger.open(path) as ledger:  # the ledger is sound, and of the version that it was
        assert len(ledger.scenes()) == 20


def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(LedgerError, match="damaged"):
        Deliveries(tmp_path / "ledger.sqlite")


def record(scene: str, key: str = "key", *, send: tuple[str, ...] = (PEER,), status: str = "done") -> SceneRecord:
    return SceneRecord(scene, key, status=status, info={"send": list(send)})  # type: ignore[arg-type]


def test_what_is_owed() -> None:
    away = {"what": "away", "remedy": "wait"}
    deliveries = [
        Delivery(PEER, "sent", "key", (), True),
        Delivery(PEER, "away", "key", (), False, {}, away),
        Delivery(PEER, "redone", "older", (), True),
        Delivery(PEER, "asked later", "key", (), False, {}, away),
        Delivery(PEER, "no longer asked", "older", (), False, {}, away),
        Delivery(PEER, "gone", "key", (), False, {}, away),
    ]
    records = [
        record("sent"),
        record("away"),
        record("redone"),
        record("asked later", send=()),
        record("no longer asked", send=()),
        record("never tried"),
        record("never asked", send=()),
        record("gone", status="vanished"),
        record("working", status="running"),
    ]
    owed = undelivered(records, deliveries)[PEER]
    assert {scene: error["what"] for scene, error in owed.items()} == {
        "away": "away",
        "asked later": "away",
        "gone": "away",
        "redone": "not sent yet",
        "never tried": "not sent yet",
    }
    assert undelivered(records, deliveries, [PEER]) == {PEER: owed}
    assert undelivered(records, deliveries, ["dimse://B@pacs:104"]) == {}  # the last run had another peer
    assert not_sent_lines(PEER, owed) == [
        f"not sent  3 scenes to {PEER}: away (asked later, away, gone)",
        "  remedy: wait",
        f"not sent  2 scenes to {PEER}: not sent yet (never tried, redone)",
        "  remedy: run the pipeline again",
    ]


def test_only_what_may_be_owed_is_read(path: Path) -> None:
    other = "dimse://B@pacs:104"
    with Ledger.open(path) as ledger:
        both = [record("settled", send=(PEER, other)), record("half", send=(PEER, other)), record("new")]
        ledger.upsert_scenes([*both, record("older"), record("unasked", send=()), record("busy", status="running")])
        ledger.upsert_scene(record("gone", status="vanished"))
        assert read_unsettled(path) == (["gone", "half", "new", "older", "settled"], [])
        with Deliveries(path) as deliveries:
            deliveries.record([Delivery(PEER, name, "key", (), True) for name in ("settled", "half", "gone", "busy")])
            deliveries.record([Delivery(other, "settled", "key", (), True), Delivery(PEER, "older", "old", (), True)])
            deliveries.record([Delivery(other, "unasked", "key", ())])
        scenes, known = read_unsettled(path)
        assert scenes == ["half", "new", "older", "unasked"]
        assert [(one.peer, one.scene) for one in known] == [(PEER, "half"), (PEER, "older"), (other, "unasked")]
        chosen = [one for name in scenes if (one := ledger.scene(name))]
        with Deliveries(path) as deliveries:
            found = [deliveries.find(peer, one.id) for one in ledger.walk() for peer in (PEER, other)]
        assert undelivered(chosen, known) == undelivered(ledger.walk(), [one for one in found if one is not None])


def test_what_is_sent_while_it_is_read_is_not_taken_for_never_tried(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = [Delivery(PEER, name, "key", (), True) for name in ("a", "b")]

    def connected(file: Path) -> _Between:
        connection = connect_for_reading(file)
        return _Between(connection, lambda: deliveries.record(whole))

    monkeypatch.setattr("hdm_pipeline.output.deliveries.connect_for_reading", connected)
    with Ledger.open(path) as ledger, Deliveries(path) as deliveries:
        ledger.upsert_scenes([record("a"), record("b")])
        deliveries.record([Delivery(PEER, name, "key", (), False, {}, {"what": "away"}) for name in ("a", "b")])
        scenes, known = read_unsettled(path)
        assert scenes == ["a", "b"]
        assert [(one.scene, one.error) for one in known] == [("a", {"what": "away"}), ("b", {"what": "away"})]
        assert read_unsettled(path) == ([], [])


class _Between:
    """A connection between whose questions about the ledger a run writes to it."""

    def __init__(self, connection: sqlite3.Connection, write: Callable[[], None]) -> None:
        self._connection, self._write = connection, write

    def execute(self, query: str) -> sqlite3.Cursor | list[tuple[object, ...]]:
        found = self._connection.execute(query)
        if "SELECT" not in query or "sqlite_master" in query:
            return found
        rows = found.fetchall()
        self._write()
        return rows

    def close(self) -> None:
        self._connection.close()
