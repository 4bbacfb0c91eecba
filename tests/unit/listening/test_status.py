"""`listen --status`, `--again` and `--drop`: what they say and note while no listener runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdm_pipeline.errors import ConfigError
from hdm_pipeline.listening import status as status_module
from hdm_pipeline.listening.inbox import FileInbox, hashed
from hdm_pipeline.listening.memory import Memory, Row
from hdm_pipeline.listening.snapshot import Snapshot, snapshot
from hdm_pipeline.listening.status import listener_status, listener_text
from hdm_pipeline.listening.wishes import wish_for
from hdm_pipeline.output.ledger import Ledger, SceneRecord
from hdm_pipeline.pipeline import Pipeline
from tests.unit.listening.test_listener import PIPELINE


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    (tmp_path / "coming").mkdir()
    return Pipeline.from_yaml(tmp_path / "pipeline.yaml", ["listen.folder=coming"])


def folder(root: Path, name: str) -> Path:
    made = root / "coming" / name
    made.mkdir(parents=True)
    (made / "x").write_bytes(b"content")
    return made


def listened(root: Path) -> tuple[FileInbox, Path]:
    inbox, queue = FileInbox(root / "out" / ".hdm" / "inbox", 1000), root / "out" / ".hdm" / "inbox" / "queue.sqlite"
    with Memory(queue):
        pass
    return inbox, queue


def test_what_is_no_delivery_does_not_wait(pipeline: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no listener has run here"):
        listener_status(pipeline)
    inbox, _ = listened(tmp_path)
    assert listener_status(pipeline)["waiting"] == 0
    folder(tmp_path, ".being copied")
    (folder(tmp_path, "products") / ".hdm").mkdir()
    (tmp_path / "coming" / "empty").mkdir()
    (tmp_path / "coming" / "loose.tif").write_bytes(b"")
    (tmp_path / "coming" / "link").symlink_to(folder(tmp_path, ".elsewhere"))
    assert listener_status(pipeline)["waiting"] == 0
    folder(tmp_path, "one")
    arrival = inbox.arrival("source")
    arrival.write(b"content")
    arrival.file("study", "series", "1")
    found = listener_status(pipeline)
    assert (found["waiting"], found["bytes"]) == (2, 7)


def test_what_vanishes_or_may_not_be_read_does_not_wait(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listened(tmp_path)
    for name in ("one", "two"):
        folder(tmp_path, name)

    def gone(path: Path) -> Snapshot:
        if path.name == "one":
            raise FileNotFoundError(path)
        return snapshot(path)

    monkeypatch.setattr(status_module, "snapshot", gone)
    assert listener_status(pipeline)["waiting"] == 1
    monkeypatch.undo()
    exists = Path.exists

    def denied(path: Path) -> bool:
        if "two" in path.parts:
            raise PermissionError(path)
        return exists(path)

    monkeypatch.setattr(Path, "exists", denied)
    assert listener_status(pipeline)["waiting"] == 1


def test_what_needs_attention_is_asked_for_again_or_dropped(pipeline: Pipeline, tmp_path: Path) -> None:
    _, queue = listened(tmp_path)
    folder(tmp_path, "there")
    there, gone = hashed("there"), hashed("gone")
    with Memory(queue) as memory:
        memory.put(Row(there, "x", "failed", error={"type": "DecodeError", "remedy": "mend it"}))
        memory.put(Row(gone, "x", "refused", scenes=1, error={"type": "PeerRefusedError", "remedy": "see `status`"}))
    text = listener_text(listener_status(pipeline))
    assert "listen --again ID" in text
    assert f"refused {gone}: PeerRefusedError" in text
    for wish, name in (("again", gone), ("again", hashed("never")), ("drop", hashed("never")), ("drop", "../../x")):
        with pytest.raises(ConfigError, match="no such delivery"):
            wish_for(pipeline, wish, [there, name])  # type: ignore[arg-type]
    with Memory(queue) as memory:
        assert memory.wishes() == {}
    wish_for(pipeline, "again", [there])
    wish_for(pipeline, "drop", [gone])
    with Memory(queue) as memory:
        assert memory.wishes() == {there: "again", gone: "drop"}


def test_quarantined_scenes_are_told_with_what_is_wrong(pipeline: Pipeline, tmp_path: Path) -> None:
    _, queue = listened(tmp_path)
    row = Row(hashed("x"), "x", "quarantined", error={"type": "DecodeError", "remedy": "1 scene is quarantined"})
    with Memory(queue) as memory:
        memory.put(row)
    assert listener_status(pipeline)["quarantined"] == {}  # no run ever came as far as a ledger
    with Ledger.open(pipeline.workspace.ledger) as ledger:
        error = {"type": "DecodeError", "what": "the file is cut off", "remedy": "copy it again"}
        ledger.upsert_scene(SceneRecord("chip", "key", status="quarantined", error=error))
        ledger.upsert_scene(SceneRecord("fine", "key", status="done"))
    text = listener_text(listener_status(pipeline))
    assert f"quarantined {row.id}: DecodeError" in text
    assert "quarantined chip: the file is cut off\n  remedy: copy it again" in text
    assert "fine" not in text
    with Memory(queue) as memory:
        memory.put(Row(row.id, "x", "done", scenes=1))
    assert "chip" not in listener_text(listener_status(pipeline))  # nothing of the listener's is in trouble


def test_a_queue_of_the_version_before_can_be_looked_at(pipeline: Pipeline, tmp_path: Path) -> None:
    _, queue = listened(tmp_path)
    with Memory(queue) as memory:
        memory._connection.executescript("DROP TABLE wishes; PRAGMA user_version = 1;")
    assert listener_status(pipeline)["deliveries"] == {}
    with Memory(queue) as memory:
        assert memory.wishes() == {}
