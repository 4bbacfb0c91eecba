"""What the ledger says of scenes that were fetched: what they turned out to hold, and what did not come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hdm_pipeline.contracts import SceneRef, Skipped
from hdm_pipeline.errors import FetchError, HdmError, ReadError
from hdm_pipeline.output.ledger import Receipt, SceneRecord
from hdm_pipeline.planning import plan as planning
from hdm_pipeline.planning.keys import Fingerprints, SceneKeyring, SceneKeys
from hdm_pipeline.planning.plan import Plan, make_plan
from tests.fake_executor import Bench

REF = SceneRef("series", "dicom:series", "dicom", "5 instances", private=True, remote=True)


class Reader:
    """Lists one remote scene."""

    def discover(self, _: str) -> Iterator[SceneRef]:
        yield REF


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(planning, "_fingerprints", lambda *_: Fingerprints("w", "s"))
    return Bench(tmp_path, {})


def planned(bench: Bench) -> Plan:
    return make_plan(bench.config, (), bench.workspace, Reader(), bench.ledger)  # type: ignore[arg-type]


def keys(bench: Bench, name: str) -> SceneKeys:
    return SceneKeyring(bench.config, Fingerprints("w", "s")).keys(replace(REF, id=name))


def record(bench: Bench, name: str, status: str, error: HdmError | None = None) -> None:
    found = keys(bench, name)
    told = None if error is None else error.as_dict()
    bench.ledger.upsert_scene(
        SceneRecord(name, found.product, found.score, found.stage, status, error=told)  # type: ignore[arg-type]
    )


def holds(bench: Bench, *parts: str, left_out: tuple[str, ...] = ()) -> None:
    detail = {"parts": list(parts), "left_out": list(left_out)}
    bench.ledger.record([Receipt(keys(bench, "series").stage, "fetch", 0, 1.0, detail)])


@pytest.mark.parametrize(("error", "again"), [(FetchError("gone"), True), (ReadError("broken"), False)])
def test_what_did_not_come_is_tried_again_and_what_is_broken_is_not(bench: Bench, error: HdmError, again: bool) -> None:
    record(bench, "series", "quarantined", error)
    found = planned(bench)
    assert bool(found.scenes) == again
    assert bool(found.quarantined) != again


def test_a_series_is_what_it_turned_out_to_hold(bench: Bench) -> None:
    assert [scene.ref for scene in planned(bench).scenes] == [REF]
    holds(bench, "one", "two", left_out=("a localizer",))
    record(bench, "one", "done")
    found = planned(bench)
    assert [scene.ref for scene in found.scenes] == [REF], "two is not done: the series is fetched for it"
    assert list(found.done) == ["one"]
    record(bench, "two", "done")
    found = planned(bench)
    assert (found.scenes, sorted(found.done), found.vanished) == ((), ["one", "two"], ())
    assert found.archive.skipped == (Skipped("series", "a localizer"),)


def test_a_series_without_scenes_is_not_fetched_again(bench: Bench) -> None:
    holds(bench, left_out=("2 files: a localizer",))
    found = planned(bench)
    assert (found.scenes, found.done) == ((), {})
    assert found.archive.skipped == (Skipped("series", "2 files: a localizer"),)


def test_a_series_may_hold_itself_and_things_that_are_left_out(bench: Bench) -> None:
    holds(bench, "series", left_out=("a localizer",))
    assert [scene.ref for scene in planned(bench).scenes] == [REF]
    record(bench, "series", "done")
    assert list(planned(bench).done) == ["series"]
