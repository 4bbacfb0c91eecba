"""What a plan makes of what the ledger says of scenes: also of fetched ones, and of those that did not come."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hdm_pipeline.contracts import SceneRef, Skipped
from hdm_pipeline.errors import FetchError, HdmError, NoAnswerError, OutputError, ReadError
from hdm_pipeline.hashing import hash_of_hash, hash_of_texts, stable_hash
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


class Disk:
    """Lists files of this machine, in any order."""

    identity = REF.identity

    def __init__(self, *names: str, fails: bool = False) -> None:
        self.names = names
        self.fails = fails

    def discover(self, _: str) -> Iterator[SceneRef]:
        for name in self.names:
            yield replace(REF, id=name, uri=f"/archive/{name}", remote=False, identity=self.identity)
        if self.fails:
            raise OSError("the disk is away")


def planned(bench: Bench, reader: Any = None, **options: bool) -> Plan:
    return make_plan(bench.config, (), bench.workspace, reader or Reader(), bench.ledger, **options)


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


@given(st.sets(st.sampled_from("abcdefgh"), min_size=1), st.sets(st.sampled_from("ABcdefghXYZäz")), st.booleans())
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_ledger_is_walked_beside_the_archive(
    bench: Bench, there: set[str], known: set[str], delivery: bool
) -> None:
    for one in bench.ledger.scenes():
        bench.ledger.upsert_scene(one._replace(product_key="older", status="running"))
    before = {one.id for one in bench.ledger.scenes()}
    for name in known:
        record(bench, name, "quarantined" if name in "cd" else "done")
    found = planned(bench, Disk(*sorted(there, reverse=True)), delivery=delivery)
    assert [ref.id for ref in found.scenes] == sorted(there - known)
    assert set(found.done) == there & known - set("cd")
    assert set(found.quarantined) == there & known & set("cd")
    assert found.vanished == (() if delivery else tuple(sorted((before | known) - there)))


def test_keys_are_made_when_scenes_are_taken(bench: Bench) -> None:
    found = planned(bench, Disk("b", "a", "c"))
    assert [scene.keys for scene in found.pending()] == [keys(bench, name) for name in "abc"]
    assert [scene.ref.id for scene in found.pending(2)] == ["a", "b"]


def test_work_with_uncertainties_goes_on_to_serve_where_they_are_no_longer_asked_for(bench: Bench) -> None:
    with_uncertainty = SceneKeyring(bench.config, Fingerprints("w", "s"), uncertain=True).keys(replace(REF, id="a"))
    bench.ledger.upsert_scene(
        SceneRecord("a", "another", with_uncertainty.score, with_uncertainty.stage, status="running")
    )
    (taken,) = planned(bench, Disk("a")).pending()
    assert (taken.keys.score, taken.keys.uncertain) == (with_uncertainty.score, True)


def test_what_is_done_is_recognized_only_where_it_is(bench: Bench) -> None:
    """Another file under the same name, a product that is gone or is no file, another pipeline: each is seen."""
    reader = Disk("a", "b", "c", "d")
    for name in "abcd":
        found = keys(bench, name)
        (bench.workspace.root / name).mkdir(parents=True)
        outputs = (f"{name}/score.tif", f"{name}/mask.tif")
        for output in outputs:
            (bench.workspace.root / output).touch()
        bench.ledger.upsert_scene(SceneRecord(name, found.product, found.score, found.stage, "done", outputs))
    assert sorted(planned(bench, reader).done) == ["a", "b", "c", "d"]
    (bench.workspace.root / "a" / "mask.tif").unlink()
    (bench.workspace.root / "b" / "mask.tif").unlink()
    (bench.workspace.root / "b" / "mask.tif").mkdir()
    assert sorted(planned(bench, reader).done) == ["c", "d"]
    for product in (bench.workspace.root / "c").iterdir():
        product.unlink()
    (bench.workspace.root / "c").rmdir()
    (bench.workspace.root / "c").touch()
    assert list(planned(bench, reader).done) == ["d"]
    assert [ref.id for ref in planned(bench, reader).scenes] == ["a", "b", "c"]
    renewed = Disk("d")
    renewed.identity = "6 instances"
    assert [ref.id for ref in planned(bench, renewed).scenes] == ["d"]
    changed(bench, options={"policy": "split"})
    assert [ref.id for ref in planned(bench, reader).scenes] == ["a", "b", "c", "d"]


def test_a_disk_that_does_not_answer_does_not_make_work_undone(bench: Bench) -> None:
    found = keys(bench, "a")
    bench.ledger.upsert_scene(SceneRecord("a", found.product, found.score, found.stage, "done", ("a" * 300,)))
    with pytest.raises(OutputError, match="whether a product is there"):  # a name that is too long: not said to be away
        planned(bench, Disk("a"))


def test_python_looks_for_garbage_again_after_a_plan(bench: Bench) -> None:
    planned(bench, Disk("a"))
    assert gc.isenabled()
    with pytest.raises(OSError, match="away"):
        planned(bench, Disk("a", fails=True))
    assert gc.isenabled()


TEXT = st.text(st.characters(codec="utf-8"))


@settings(deadline=None)
@given(st.text("0123456789abcdef", min_size=1), st.text("0123456789abcdef"), TEXT, TEXT)
def test_the_quick_hashes_are_the_stable_one(outer: str, inner: str, first: str, second: str) -> None:
    assert hash_of_hash(outer, inner) == stable_hash([outer, inner])
    assert hash_of_texts(outer, first, second) == stable_hash([outer, first, second])
    assert hash_of_texts(outer, "\ud800\n\"'\\", second) == stable_hash([outer, "\ud800\n\"'\\", second])
