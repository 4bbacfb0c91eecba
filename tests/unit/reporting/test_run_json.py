"""`run.json`: the head first, a scene a line, and nothing in memory of what is finished."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hdm_pipeline.contracts import SceneWarning
from hdm_pipeline.errors import ExecutionError, LedgerError
from hdm_pipeline.output.deliveries import Delivered, Deliveries, Delivery
from hdm_pipeline.output.ledger import Ledger, SceneRecord
from hdm_pipeline.reporting.events import (
    ProductsNotSent,
    ProductsSent,
    SceneDone,
    SceneQuarantined,
    SceneSplit,
    SceneStarted,
    Stopping,
)
from hdm_pipeline.reporting.run_json import RunReport, read_head, read_scenes

WARNING = SceneWarning("no_crs", "the scene has no CRS", "add one")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.sqlite") as opened:
        yield opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.json"


def started(name: str) -> SceneStarted:
    return SceneStarted(scene=name, shape=(1, 1, 9, 9), tiles=8, blocks=2, blocks_done=0, warnings=())


def finish(report: RunReport, ledger: Ledger, name: str) -> None:
    """As the driver does it: the ledger first."""
    done = SceneDone(
        scene=name,
        outputs=(f"{name}/mask.tif",),
        tiles=8,
        blocks=2,
        seconds={"infer": 1.5, "publish": 0.5},
        warnings=(WARNING,),
        measures={"valid": 1.0},
    )
    ledger.upsert_scene(
        SceneRecord(name, "p", status="done", outputs=done.outputs, info=done.facts() | {"send": ["x"]})
    )
    report.event(done)


def quarantine(report: RunReport, ledger: Ledger, name: str) -> None:
    bad = SceneQuarantined(scene=name, error=ExecutionError("broken", where=name), seconds={"stage": 0.25}, stale="s")
    facts = bad.facts()
    ledger.upsert_scene(SceneRecord(name, "p", status="quarantined", error=facts.pop("error"), info=facts))
    report.event(bad)


def whole(path: Path) -> dict[str, dict[str, object]]:
    return dict(json.loads(path.read_text()))


def test_the_file_tells_what_was_before_what_is_new_and_what_waits(path: Path, ledger: Ledger) -> None:
    old = {"tiles": 3, "seconds": {"infer": 9.0}}
    ledger.upsert_scene(SceneRecord("b", "p", status="done", info=old))
    ledger.upsert_scene(SceneRecord("e", "p", status="quarantined", error={"what": "old"}))
    ledger.upsert_scene(SceneRecord("other", "q", status="done", info=old))  # of an earlier pipeline, to be done again
    ledger.upsert_scene(SceneRecord("gone", "p", status="vanished", info=old))
    inputs = {name: f"/in/{name}" for name in ("a", "b", "c", "d", "e", "f", "other")}
    report = RunReport(path, "test", inputs, ledger, {"b"}, {"e"})
    finish(report, ledger, "c")
    quarantine(report, ledger, "a")
    report.event(started("d"))
    report.write()
    found = whole(path)
    assert {name: (entry["status"], entry["this_run"]) for name, entry in found["scenes"].items()} == {  # type: ignore[index]
        "a": ("quarantined", True),
        "b": ("done", False),
        "c": ("done", True),
        "d": ("running", True),
        "e": ("quarantined", False),
    }
    assert list(found["scenes"]) == ["a", "b", "c", "d", "e"]
    scenes = dict(read_scenes(path))
    assert scenes == found["scenes"]
    assert scenes["b"] == {"status": "done", "this_run": False, "input": "/in/b", **old}
    assert scenes["c"]["warnings"] == [WARNING.as_dict()]
    assert "send" not in scenes["c"], "a note of the ledger for itself"
    assert (scenes["a"]["error"]["what"], scenes["a"]["seconds"], scenes["a"]["stale"]) == (
        "broken",
        {"stage": 0.25},
        "s",
    )
    totals = found["totals"]
    assert {key: totals[key] for key in ("scenes", "done", "done_before", "running", "quarantined", "waiting")} == {
        "scenes": 7,
        "done": 2,
        "done_before": 1,
        "running": 1,
        "quarantined": 2,
        "waiting": 2,
    }
    assert totals["seconds_by_stage"] == {"infer": 1.5, "publish": 0.5, "stage": 0.25}, "of this run"


def test_a_scene_is_a_line(path: Path, ledger: Ledger) -> None:
    report = RunReport(path, "test", {"a": "a", "b": "b"}, ledger)
    report.write()
    assert (whole(path)["scenes"], list(read_scenes(path))) == ({}, [])
    finish(report, ledger, "a")
    report.event(started("b"))
    report.write()
    lines = path.read_text().splitlines()
    start = lines.index(' "scenes": {')
    assert [line[: line.index(":")].strip() for line in lines[start + 1 : -2]] == ['"a"', '"b"']
    assert lines[-2:] == [" }", "}"]


def test_the_head_is_read_without_the_scenes(path: Path, ledger: Ledger) -> None:
    report = RunReport(path, "test", {"a": "a"}, ledger)
    report.note(skipped=[{"input": "x" * 200_000, "reason": "long heads come in several pieces"}])
    finish(report, ledger, "a")
    report.status = "done"
    report.write()
    expected = whole(path)
    del expected["scenes"]
    text = path.read_text()
    path.write_text(text[: text.index('\n "scenes": {')] + '\n "scenes": {\n  what stands here is not looked at')
    assert read_head(path) == expected


def test_a_report_of_an_older_release_is_read(path: Path) -> None:
    """There the versions stood last."""
    old = {"schema": 1, "status": "done", "scenes": {"a": {"status": "done"}}, "versions": {"torch": "2"}}
    path.write_text(json.dumps(old, indent=1))
    assert read_head(path) == {"schema": 1, "status": "done", "versions": {"torch": "2"}}
    for text in ("", "[1]", '{"status": '):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"."):
            read_head(path)


def test_a_run_that_failed_by_its_ledger_says_so_without_scenes(path: Path, ledger: Ledger) -> None:
    report = RunReport(path, "test", {"a": "a"}, ledger)
    finish(report, ledger, "a")
    with sqlite3.connect(ledger.path) as connection:
        connection.execute("DROP TABLE scenes")
    with pytest.raises(LedgerError):
        report.write()
    report.status = "failed"
    report.note(error={"what": "the ledger is damaged"})
    report.write()
    found = whole(path)
    assert (found["status"], found["error"], found["scenes"]) == ("failed", {"what": "the ledger is damaged"}, {})


def test_what_peers_have_stands_with_the_scenes(path: Path, ledger: Ledger) -> None:
    ledger.upsert_scene(SceneRecord("b", "p", status="done"))
    report = RunReport(path, "test", {"a": "a", "b": "b", "c": "c"}, ledger, {"b"})
    receipt = Delivered("seg", "0" * 64, "stored", "2026-01-01T00:00:00Z")
    first = replace(receipt, answer="on its way")
    error = {"what": "refused", "remedy": "ask"}
    with Deliveries(ledger.path) as deliveries:
        deliveries.record(
            [
                Delivery("peer", "b", "p", ("seg",), True, receipts={"b/z.dcm": first, "b/a.dcm": receipt}),
                Delivery("another", "b", "p", ("mask", "seg"), error=error),
                Delivery("other", "b", "older", ("seg",), complete=True),
                Delivery("peer", "a", "p", ("seg",), error=error),
                Delivery("peer", "unknown", "p", ("seg",), complete=True),
            ]
        )
    for name in ("a", "c"):
        finish(report, ledger, name)
    report.event(ProductsSent(scene="a", to="peer", products=("seg",), what="stored"))
    report.event(ProductsNotSent(scene="c", to="peer", products=("seg",), what="refused", remedy="ask"))
    scenes = dict(report.scenes())
    assert scenes["b"]["sent"] == {
        "another": {"complete": False, "products": ["mask", "seg"], **error},
        "peer": {"complete": True, "products": ["seg"], "what": "stored"},
    }
    assert scenes["a"]["sent"] == {"peer": {"complete": True, "products": ("seg",), "what": "stored"}}
    assert scenes["c"]["sent"]["peer"]["complete"] is False
    assert [one["kind"] for one in scenes["c"]["warnings"]] == ["no_crs", "not_sent"]
    assert [one["kind"] for one in scenes["a"]["warnings"]] == ["no_crs"]


def test_what_an_entry_held_is_left_out_once(path: Path, ledger: Ledger) -> None:
    report = RunReport(path, "test", {"series": "series"}, ledger)
    report.note(skipped=[{"input": "series", "reason": "a localizer"}])
    report.event(SceneSplit(scene="series", parts=("one", "series"), left_out=("a localizer", "a report")))
    assert [one["reason"] for one in report.head()["skipped"]] == ["a localizer", "a report"]
    assert report.head()["totals"]["scenes"] == 2


def test_a_peer_has_nothing_of_products_that_are_made_anew(path: Path, ledger: Ledger) -> None:
    for name in ("again", "broken", "kept"):
        ledger.upsert_scene(SceneRecord(name, "old", status="done"))
    report = RunReport(path, "test", dict.fromkeys(("again", "broken", "kept"), ""), ledger, {"kept"})
    with Deliveries(ledger.path) as deliveries:
        deliveries.record(Delivery("peer", name, "old", ("seg",), True) for name in ("again", "broken", "kept"))
    finish(report, ledger, "again")
    quarantine(report, ledger, "broken")
    assert {name for name, facts in report.scenes() if "sent" in facts} == {"kept"}


def test_a_scene_that_is_done_again_counts_once(path: Path, ledger: Ledger) -> None:
    """An entry of another machine may be one of the scenes that it holds, and come with another that is to be done."""
    ledger.upsert_scene(SceneRecord("series", "p", status="done"))
    report = RunReport(path, "test", {"series": ""}, ledger, {"series"})
    quarantine(report, ledger, "series")
    quarantine(report, ledger, "not of this run")
    totals = report.head()["totals"]
    assert (totals["scenes"], totals["done"], totals["done_before"], totals["quarantined"]) == (1, 0, 0, 2)
    assert [name for name, _ in report.scenes()] == ["series"]


def test_what_is_told_while_the_file_is_written_does_not_write_it_again(
    path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal comes in the middle of writing, and its handler tells that the run is to stop."""
    report = RunReport(path, "test", {"a": "a"}, ledger)
    walk = ledger.walk

    def interrupted() -> Iterator[SceneRecord]:
        report.event(Stopping())
        yield from walk()

    finish(report, ledger, "a")
    monkeypatch.setattr(ledger, "walk", interrupted)
    report.write()
    assert whole(path)["scenes"].keys() == {"a"}
    assert [one.name for one in path.parent.glob(".run.json*")] == []
