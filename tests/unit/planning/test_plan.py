"""What the ledger says of scenes that were fetched: what they turned out to hold, and what did not come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hdm_pipeline.contracts import SceneRef, Skipped
from hdm_pipeline.errors import FetchError, HdmError, NoAnswerError, ReadError
from hdm_pipeline.output.ledger import SceneRecord
from hdm_pipeline.planning import contents
from hdm_pipeline.planning import plan as planning
from hdm_pipeline.planning.archive import Archive
from hdm_pipeline.planning.contents import Contents
from hdm_pipeline.planning.forecast import Forecast, SceneCost, forecast
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
    monkeypatch.setattr(planning, "fingerprints", lambda *_: Fingerprints("w", "s"))
    bench = Bench(tmp_path, {})
    changed(bench, reader="dicom")
    output = bench.config.output.model_copy(update={"products": ["nifti"]})
    bench.config = bench.config.model_copy(update={"output": output})
    return bench


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
    contents.note(bench.ledger, bench.config, "series", keys(bench, "series"), Contents(parts, left_out))


@pytest.mark.parametrize(
    ("error", "again"), [(FetchError("gone"), True), (NoAnswerError("silent"), True), (ReadError("broken"), False)]
)
def test_what_did_not_come_is_tried_again_and_what_is_broken_is_not(bench: Bench, error: HdmError, again: bool) -> None:
    record(bench, "series", "quarantined", error)
    found = planned(bench)
    assert bool(found.scenes) == again
    assert bool(found.quarantined) != again


def test_a_series_is_what_it_turned_out_to_hold(bench: Bench) -> None:
    assert list(planned(bench).scenes) == [REF]
    holds(bench, "one", "two", left_out=("a localizer",))
    record(bench, "one", "done")
    found = planned(bench)
    assert list(found.scenes) == [REF], "two is not done: the series is fetched for it"
    assert list(found.done) == ["one"]
    record(bench, "two", "done")
    found = planned(bench)
    assert (found.scenes, sorted(found.done), found.vanished) == ((), ["one", "two"], ())
    assert found.archive.skipped == (Skipped("series", "a localizer"),)


def test_a_series_without_scenes_is_not_fetched_again(bench: Bench) -> None:
    holds(bench, left_out=("2 files: a localizer",))
    found = planned(bench)
    assert (found.scenes, found.done) == ((), set())
    assert found.archive.skipped == (Skipped("series", "2 files: a localizer"),)


def test_a_series_may_hold_itself_and_things_that_are_left_out(bench: Bench) -> None:
    holds(bench, "series", left_out=("a localizer",))
    assert list(planned(bench).scenes) == [REF]
    record(bench, "series", "done")
    assert list(planned(bench).done) == ["series"]


def changed(bench: Bench, **of_input: object) -> None:
    """The pipeline with other keys under `input`."""
    bench.config = bench.config.model_copy(update={"input": bench.config.input.model_copy(update=of_input)})


def test_another_choice_of_series_has_them_fetched_again(bench: Bench) -> None:
    changed(bench, select={"min_slices": 100})
    holds(bench, left_out=("input.select: 5 slices, min_slices is 100",))
    assert planned(bench).scenes == ()
    changed(bench, select={"min_slices": 2})
    found = planned(bench)
    assert list(found.scenes) == [REF], "all that the series holds was left out, and is not now"
    assert found.archive.skipped == (), "what is left out now is not known yet"
    holds(bench, "one", "two")
    record(bench, "one", "done")
    changed(bench, select=None)
    found = planned(bench)
    assert (list(found.scenes), list(found.done)) == ([REF], ["one"]), "one need not be done again"


def test_parts_do_not_vanish_while_their_series_is_to_be_done_again(bench: Bench) -> None:
    holds(bench, "one", "two")
    record(bench, "one", "done")
    record(bench, "two", "done")
    record(bench, "gone", "done")
    changed(bench, options={"policy": "split"})
    found = planned(bench)
    assert list(found.scenes) == [REF]
    assert (found.done, found.vanished) == (set(), ("gone",))


def test_a_series_that_cannot_be_fetched_is_not_asked_for_each_night(bench: Bench) -> None:
    """It held two once, and is refused under the keys of now."""
    holds(bench, "one", "two")
    changed(bench, options={"policy": "split"})
    contents.note(bench.ledger, bench.config, "series", keys(bench, "series"), Contents(("series",), ()))
    record(bench, "series", "quarantined", ReadError("too large"))
    found = planned(bench)
    assert (found.scenes, list(found.quarantined)) == ((), ["series"])


def test_what_a_series_left_out_outlives_its_products(bench: Bench) -> None:
    """Receipts of a scene's work are dropped when it is done; what came with it is still told."""
    holds(bench, "series", left_out=("a damaged file",))
    found = keys(bench, "series")
    done = SceneRecord("series", found.product, found.score, found.stage, "done")
    bench.ledger.upsert_scene(done, forget=[found.stage, found.score])
    assert planned(bench).archive.skipped == (Skipped("series", "a damaged file"),)


def test_a_forecast_counts_what_a_series_holds(bench: Bench) -> None:
    holds(bench, "one", "two", "three")
    for name in ("one", "two", "three"):
        record(bench, name, "done")
    found = forecast(bench.config, planned(bench), Reader(), None)  # type: ignore[arg-type]
    assert (found.scenes_total, found.scenes_done, found.remote) == (3, 3, 0)
    assert (found.sampled, found.tiles) == (False, 0)


def test_a_forecast_is_no_less_for_what_is_done(bench: Bench) -> None:
    """Three parts of one series are done; of two scenes of this machine one header was read."""
    local = tuple(replace(REF, id=name, remote=False) for name in ("a", "b"))
    keyring = SceneKeyring(bench.config, Fingerprints("w", "s"))
    plan = Plan(Archive((REF, *local), ()), local, {"one", "two", "three"}, {"bad": {}}, (), keyring)
    cost = SceneCost("a", (1, 1, 64, 64), tiles=100, blocks=1, stage_bytes=8192)
    found = Forecast(plan, (cost,), (("bad", "damaged"),), 0, None)
    assert (found.sampled, found.tiles) == (True, 200)
