"""The ledger: nothing lost, nothing twice, nothing silently wrong."""

import os
import random
import sqlite3
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hdm_pipeline.errors import HdmError, LedgerError, OutputError
from hdm_pipeline.output.ledger import Ledger, Receipt, SceneRecord


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


def test_scenes_come_back_as_they_were_put(path: Path) -> None:
    record = SceneRecord(
        "a/b",
        "p",
        "s",
        "t",
        "quarantined",
        ("x/mask.tif",),
        {"what": "broken ü"},
        {"tiles": 3, "seconds": {"infer": 6}},
    )
    with Ledger.open(path) as ledger:
        ledger.upsert_scene(record)
        ledger.upsert_scene(SceneRecord("b", "p"))
    with Ledger.open(path) as ledger:
        found = ledger.scene("a/b")
        assert found is not None
        assert found.updated == 1
        assert found._replace(updated=0) == record
        assert [r.id for r in ledger.scenes()] == ["a/b", "b"]
        assert [r.id for r in ledger.scenes("running")] == ["b"]
        assert ledger.scene("c") is None


def test_order_does_not_depend_on_the_clock(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger.open(path) as ledger:
        ledger.upsert_scene(SceneRecord("first", "p"))
    monkeypatch.setattr(time, "time", lambda: 0.0)  # the clock goes back to 1970
    with Ledger.open(path) as ledger:
        ledger.upsert_scene(SceneRecord("second", "p"))
        ledger.upsert_scene(SceneRecord("first", "q"))
        order = sorted(ledger.scenes(), key=lambda record: record.updated)
    assert [(r.id, r.product_key) for r in order] == [("second", "p"), ("first", "q")]


def test_vanished_scenes_keep_what_is_known_of_them(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.upsert_scenes([SceneRecord("a", "p", status="done", outputs=("a/mask.tif",)), SceneRecord("b", "p")])
        ledger.mark_vanished(["a", "unknown"])
        once = ledger.scene("a")
        ledger.mark_vanished(["a"])
        assert ledger.scene("a") == once
        assert once is not None
        assert (once.status, once.outputs) == ("vanished", ("a/mask.tif",))
        assert [r.id for r in ledger.scenes("vanished")] == ["a"]


receipts = st.builds(
    Receipt,
    st.sampled_from(["k1", "k2"]),
    st.sampled_from(["stage", "infer"]),
    st.integers(0, 5),
    st.floats(0, 1e6),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


@given(st.lists(st.lists(receipts, max_size=8), max_size=6))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
def test_the_first_receipt_counts(tmp_path: Path, batches: list[list[Receipt]]) -> None:
    expected: dict[tuple[str, str, int], Receipt] = {}
    path = tmp_path / f"{uuid.uuid4().hex}.sqlite"
    with Ledger.open(path) as ledger:
        for batch in batches:
            before = len(expected)
            for receipt in batch:
                expected.setdefault((receipt.scene_key, receipt.step, receipt.block), receipt)
            assert ledger.record(batch) == len(expected) - before
    with Ledger.open(path) as ledger:
        found = [r for key in ("k1", "k2") for step in ("stage", "infer") for r in ledger.receipts(key, step).values()]
    assert sorted(found, key=repr) == sorted(expected.values(), key=repr)


def test_a_scene_is_noted_and_its_receipts_dropped_at_once(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.record([Receipt(key, "infer", 0, 1.0) for key in ("stage", "score", "other")])
        ledger.upsert_scene(SceneRecord("a", "p", status="done"), forget=["stage", "score"])
        assert [len(ledger.receipts(key, "infer")) for key in ("stage", "score", "other")] == [0, 0, 1]
        assert [record.status for record in ledger.scenes()] == ["done"]


def test_forget(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.record([Receipt(key, step, 0, 1.0) for key in ("k", "l") for step in ("infer", "stitch")])
        ledger.forget("k", "stitch")
        assert not ledger.receipts("k", "stitch")
        assert ledger.receipts("k", "infer")
        ledger.forget("k")
        assert not ledger.receipts("k", "infer")
        assert ledger.receipts("l", "infer")
        assert ledger.receipts("l", "stitch")


def test_a_call_that_fails_leaves_nothing_half(path: Path) -> None:
    with Ledger.open(path) as ledger:
        with pytest.raises(HdmError):
            ledger.upsert_scenes([SceneRecord("a", "p"), SceneRecord("b", "p", status="odd")])  # type: ignore[arg-type]
        assert ledger.scenes() == []
        ledger.upsert_scene(SceneRecord("c", "p"))


def test_seconds_per_tile(path: Path) -> None:
    with Ledger.open(path) as ledger:
        assert ledger.seconds_per_tile() is None
        for name, seconds, tiles in (("a", 6.0, 3), ("b", 4.0, 2)):
            info = {"tiles": tiles, "seconds": {"infer": seconds}}
            ledger.upsert_scene(SceneRecord(name, "p", status="done", info=info))
        ledger.upsert_scene(SceneRecord("empty", "p", status="done", info={"tiles": 0, "seconds": {}}))
        ledger.upsert_scene(SceneRecord("c", "p", status="quarantined", info={"tiles": 1, "seconds": {"infer": 99.0}}))
        assert ledger.seconds_per_tile() == pytest.approx(2.0)


def test_reading_beside_a_writer_and_leaving_nothing_behind(path: Path) -> None:
    assert Ledger.open_readonly(path) is None
    with Ledger.open(path) as writer:
        writer.upsert_scene(SceneRecord("a", "p"))
        reader = Ledger.open_readonly(path)
        assert reader is not None
        with reader:
            assert [r.id for r in reader.scenes()] == ["a"]
            with pytest.raises(OutputError):
                reader.upsert_scene(SceneRecord("b", "p"))
    before = sorted(os.listdir(path.parent))
    reader = Ledger.open_readonly(path)
    assert reader is not None
    with reader:
        assert [r.id for r in reader.scenes()] == ["a"]
    assert sorted(os.listdir(path.parent)) == before == ["ledger.sqlite"]


def filled(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.upsert_scenes(SceneRecord(f"scene-{n:04}", "p" * 40, info={"n": n}) for n in range(500))


@pytest.mark.parametrize("damage", ["garbage", "cut", "head", "middle"])
def test_a_damaged_ledger_is_refused_and_can_be_rebuilt(path: Path, damage: str) -> None:
    filled(path)
    content = bytearray(path.read_bytes())
    if damage == "garbage":
        content = bytearray(b"this is no database, but it is long enough to be one" * 100)
    elif damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "head":
        content[:64] = bytes(64)
    else:
        content[8192:16384] = bytes([7]) * 8192
    path.write_bytes(content)
    with pytest.raises(LedgerError) as caught:
        Ledger.open(path)
    assert caught.value.remedy
    with pytest.raises(LedgerError):
        Ledger.open_readonly(path)
    assert path.read_bytes() == content, "a refused ledger is not touched"

    with Ledger.open(path, rebuild=True) as ledger:
        assert ledger.scenes() == []
        assert ledger.set_aside is not None
        assert ledger.set_aside.read_bytes() == content
        ledger.upsert_scene(SceneRecord("a", "p"))
    with Ledger.open(path, rebuild=True) as ledger:
        assert ledger.set_aside is None
        assert len(ledger.scenes()) == 1


@given(st.integers(0, 2**32 - 1))
@example(4076924)  # SQLite's own check quotes bytes that are no text
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
def test_no_damage_leads_to_anything_but_our_errors(tmp_path: Path, seed: int) -> None:
    path = tmp_path / f"{seed}.sqlite"
    filled(path)
    rng = random.Random(seed)
    content = bytearray(path.read_bytes())
    for _ in range(rng.randint(1, 30)):
        content[rng.randrange(len(content))] = rng.randrange(256)
    path.write_bytes(content[: rng.randint(1, len(content))])
    try:
        with Ledger.open(path) as ledger:
            ledger.scenes()
            ledger.upsert_scene(SceneRecord("new", "p"))
    except HdmError as error:
        assert error.remedy  # noqa: PT017


def test_another_version_and_a_strangers_file_are_refused(path: Path, tmp_path: Path) -> None:
    filled(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(LedgerError, match="version 99"):
        Ledger.open(path)
    stranger = tmp_path / "stranger.sqlite"
    with sqlite3.connect(stranger) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    with pytest.raises(LedgerError, match="no ledger of this program"):
        Ledger.open(stranger)


def test_a_folder_that_is_not_there_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        Ledger.open(tmp_path / "nothing" / "ledger.sqlite")
    assert caught.value.remedy


_WRITER = """
import sys
from pathlib import Path
from hdm_pipeline.output.ledger import Ledger, Receipt
with Ledger.open(Path(sys.argv[1])) as ledger:
    for n in range(10**9):
        ledger.record([Receipt("k", "infer", 2 * n, 0.1), Receipt("k", "infer", 2 * n + 1, 0.1)])
        print(2 * n + 1, flush=True)
"""


def test_kill_9_loses_nothing_that_was_noted(path: Path) -> None:
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        for _ in range(200):
            last = int(writer.stdout.readline())
        writer.kill()
        last = int([str(last), *writer.stdout.read().split()][-1])
        writer.wait()
        with Ledger.open(path) as ledger:
            found = ledger.receipts("k", "infer")
        assert set(range(last + 1)) <= set(found)
        assert len(found) % 2 == 0, "both receipts of a call, or none"


def test_a_walk_may_leave_out_what_is_most_of_a_record(path: Path) -> None:
    with Ledger.open(path) as ledger:
        for name, status in (("b", "done"), ("a", "quarantined"), ("c", "done")):
            ledger.upsert_scene(SceneRecord(name, "p", status=status, error={"what": "x"}, info={"tiles": 1}))
        assert [record.id for record in ledger.walk()] == ["a", "b", "c"]
        assert [(record.id, record.info, record.error) for record in ledger.walk("done", info=False)] == [
            ("b", {}, {"what": "x"}),
            ("c", {}, {"what": "x"}),
        ]
        assert ledger.counts() == {"done": 2, "quarantined": 1}
        assert ledger.sequence == max(record.updated for record in ledger.walk()) == 3


@given(st.lists(st.text() | st.sampled_from(["a/mask.tif", 'a","b', "a\\", "é", ""])))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_walk_gives_the_names_of_files_as_they_were(path: Path, outputs: list[str]) -> None:
    with Ledger.open(path) as ledger:
        ledger.upsert_scene(SceneRecord("a", "p", "s", "t", "done", tuple(outputs), info={"tiles": 1}))
        (whole,), (brief,) = ledger.walk(), ledger.walk(info=False)
        assert whole.outputs == brief.outputs == tuple(outputs)
        assert brief == whole._replace(stage_key="", info={}, updated=0)


def test_suspicions_count_scenes_and_not_warnings(path: Path) -> None:
    one, two = {"kind": "unlike", "suspect": True}, {"kind": "no_crs", "suspect": False}
    infos: dict[str, dict[str, object]] = {
        "a": {"warnings": [one, one, two]},
        "b": {"warnings": [one, {"kind": "flat", "suspect": True}]},
        "c": {"warnings": ["what an older release wrote"]},
        "d": {},
        "e": {"warnings": None},
    }
    with Ledger.open(path) as ledger:
        for name, info in infos.items():
            ledger.upsert_scene(SceneRecord(name, "p", status="done", info=info))
        ledger.upsert_scene(SceneRecord("f", "p", status="running", info={"warnings": [one]}))
        assert ledger.suspicions() == {"unlike": 2, "flat": 1}


def test_receipts_of_several_keys_are_told_by_step(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.record([Receipt("t", "stage", 1, 0.5), Receipt("s", "infer", 0, 1.0), Receipt("s", "stitch", 0, 0.1)])
        found = ledger.receipts_of("t", "s")
        assert {step: list(blocks) for step, blocks in found.items()} == {"stage": [1], "infer": [0], "stitch": [0]}
        assert ledger.receipts("s", "infer") == found["infer"]
        assert ledger.receipts("s", "stage") == {}


def test_a_reader_keeps_its_moment_while_a_run_begins_and_leaves_nothing_behind(path: Path) -> None:
    many = [SceneRecord(f"{number:05}", "p", info={"text": "x" * 200}) for number in range(2000)]
    with Ledger.open(path) as ledger:
        ledger.upsert_scenes(many)
    reader = Ledger.open_readonly(path)
    assert reader is not None
    with reader:
        walk = reader.walk()
        first = next(walk)
        with Ledger.open(path) as ledger:
            ledger.upsert_scenes([SceneRecord(one.id, "q", info={"text": "y" * 900}) for one in many])
        found = [first, *walk]
        assert len(found) == 2000
        assert {record.product_key for record in found} == {"p"}
        with reader.unchanged():
            assert reader.counts() == {"running": 2000}
        with pytest.raises(HdmError):
            reader.upsert_scene(SceneRecord("a", "p"))
    assert [one.name for one in path.parent.iterdir()] == [path.name]
