"""Scenes of another machine: fetched a few ahead, tried again, counted for what they hold, removed when finished."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from hdm_pipeline.contracts import SceneRef, Skipped
from hdm_pipeline.errors import FetchError, HdmError, PeerRefusedError, UnsupportedSceneError
from hdm_pipeline.execution import arrivals
from hdm_pipeline.execution.arrivals import Arrivals, Fetching, drop_leftovers
from hdm_pipeline.execution.messages import PublishTask, Task
from hdm_pipeline.planning.keys import PendingScene
from hdm_pipeline.reporting.events import SceneQuarantined, SceneSplit
from tests.fake_executor import Bench, pending

NAMES = ("a", "b", "c", "d", "e", "f")
SIZES = dict.fromkeys((*NAMES, "x", "y"), (64, 64))


class Reader:
    """Fetches by writing a file; `does` may raise, wait, or give something else for a scene."""

    def __init__(self, does: Callable[[str], list[SceneRef | Skipped] | None] = lambda _: None) -> None:
        self._does = does
        self._lock = threading.Lock()
        self.asked: list[str] = []
        self.there: list[int] = []

    def fetch(self, ref: SceneRef, folder: Path, stopped: Callable[[], bool]) -> list[SceneRef | Skipped]:
        with self._lock:
            self.asked.append(ref.id)
        found = self._does(ref.id)
        (folder / "file").write_text("fetched")
        with self._lock:
            self.there.append(len(list(folder.parent.parent.glob("*/fetched/file"))))
        return found if found is not None else [replace(ref, remote=False, members=(str(folder / "file"),))]


def remote(name: str) -> PendingScene:
    scene = pending(name)
    return replace(scene, ref=replace(scene.ref, remote=True))


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "_FIRST_WAIT", 0.01)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, SIZES)


def run(bench: Bench, reader: Reader, names: tuple[str, ...] = NAMES, ahead: int = 2, **more: object) -> list[Task]:
    fetching = Fetching(reader, bench.workspace, lambda ref: pending(ref.id).keys, (), ahead)  # type: ignore[arg-type]
    with closing(Arrivals(iter([remote(name) for name in names]), fetching)) as scenes:
        bench.run(scenes=scenes, **more)  # type: ignore[arg-type]
    return bench.executor.given


def left(bench: Bench) -> list[Path]:
    return list(bench.workspace.private.glob("scenes/*/fetched"))


def test_remote_scenes_are_worked_on_and_their_files_removed(bench: Bench) -> None:
    reader = Reader()
    tasks = run(bench, reader)
    assert bench.statuses() == dict.fromkeys(NAMES, "done")
    assert sorted(reader.asked) == list(NAMES)
    assert not any(task.pending.ref.remote for task in tasks if hasattr(task, "pending"))
    assert left(bench) == []


def test_files_are_there_until_the_products_are(bench: Bench) -> None:
    seen: list[bool] = []

    def script(task: Task) -> None:
        if isinstance(task, PublishTask):
            seen.append((bench.workspace.fetched_folder(task.scene) / "file").is_file())

    run(bench, Reader(), script=script)
    assert seen == [True] * len(NAMES)


def test_no_more_than_a_few_are_fetched_ahead(bench: Bench) -> None:
    """Nothing is taken while the first scene is worked on: what lies on the disk is bounded."""
    reader = Reader()
    many = tuple(f"s{index}" for index in range(30))
    bench.sizes.update(dict.fromkeys(many, (64, 64)))
    fetching = Fetching(reader, bench.workspace, lambda ref: pending(ref.id).keys, (), ahead=3)  # type: ignore[arg-type]
    with closing(Arrivals(iter([remote(name) for name in many]), fetching)) as scenes:
        scenes.start()
        deadline = time.monotonic() + 5
        while len(reader.there) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.2)
        assert sorted(reader.asked) == ["s0", "s1", "s2"]
        assert scenes.take() is not None
        time.sleep(0.2)
        assert len(reader.asked) == 4


def test_a_failure_is_tried_again(bench: Bench) -> None:
    fails = iter([FetchError("no"), FetchError("no")])

    def does(name: str) -> None:
        if name == "b" and (error := next(fails, None)) is not None:
            raise error

    reader = Reader(does)
    run(bench, reader)
    assert bench.statuses() == dict.fromkeys(NAMES, "done")
    assert reader.asked.count("b") == arrivals.ATTEMPTS


@pytest.mark.parametrize(
    ("error", "attempts"), [(FetchError("gone"), arrivals.ATTEMPTS), (UnsupportedSceneError("large"), 1)]
)
def test_what_does_not_come_is_quarantined_and_the_rest_goes_on(bench: Bench, error: HdmError, attempts: int) -> None:
    def does(name: str) -> None:
        if name == "b":
            raise error

    reader = Reader(does)
    run(bench, reader)
    assert bench.statuses() == {**dict.fromkeys(NAMES, "done"), "b": "quarantined"}
    assert reader.asked.count("b") == attempts
    (event,) = bench.told(SceneQuarantined)
    assert isinstance(event, SceneQuarantined)
    assert event.error is error


def test_a_peer_that_refuses_ends_the_run(bench: Bench) -> None:
    def does(name: str) -> None:
        if name == "b":
            raise PeerRefusedError("the token has expired")

    with pytest.raises(PeerRefusedError, match="expired"):
        run(bench, Reader(does))
    assert "quarantined" not in bench.statuses().values()


def test_a_full_disk_ends_the_run(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / ".hdm" / "scenes").mkdir()
    (tmp_path / ".hdm" / "scenes" / "b").write_text("no folder can be made here")
    with pytest.raises(HdmError) as caught:
        run(bench, Reader())
    assert caught.value.scope == "run"


def parts(*names: str) -> list[SceneRef | Skipped]:
    return [pending(name).ref for name in names]


def test_one_entry_may_hold_several_scenes(bench: Bench) -> None:
    def does(name: str) -> list[SceneRef | Skipped] | None:
        return [*parts("x", "y"), Skipped("b", "a localizer")] if name == "b" else None

    def script(task: Task) -> None:
        if isinstance(task, PublishTask) and task.scene in ("x", "y"):
            time.sleep(0.1)  # the first one's files would be gone by now
            assert (bench.workspace.fetched_folder("b") / "file").is_file()

    run(bench, Reader(does), script=script)
    assert bench.statuses() == {name: "done" for name in (*NAMES, "x", "y") if name != "b"}
    assert bench.told(SceneSplit) == [SceneSplit(scene="b", parts=("x", "y"), left_out=("a localizer",))]
    receipt = bench.ledger.receipts(remote("b").keys.stage, "fetch")[0]
    assert receipt.detail == {"parts": ["x", "y"], "left_out": ["a localizer"]}
    assert left(bench) == []


def test_one_entry_may_hold_none(bench: Bench) -> None:
    def does(name: str) -> list[SceneRef | Skipped] | None:
        return [Skipped("b", "a localizer")] if name == "b" else None

    run(bench, Reader(does), names=("a", "b"))
    assert bench.statuses() == {"a": "done"}
    assert bench.ledger.receipts(remote("b").keys.stage, "fetch")[0].detail["parts"] == []
    assert left(bench) == []


def test_parts_that_are_finished_are_not_done_again(bench: Bench) -> None:
    reader = Reader(lambda name: parts("x", "y"))
    fetching = Fetching(reader, bench.workspace, lambda ref: pending(ref.id).keys, {"x"})  # type: ignore[arg-type]
    with closing(Arrivals(iter([remote("b")]), fetching)) as scenes:
        bench.run(scenes=scenes)
    assert bench.statuses() == {"y": "done"}


def test_a_run_that_is_stopped_takes_no_more(bench: Bench) -> None:
    asked = iter([False] * 3)
    run(bench, Reader(), should_stop=lambda: next(asked, True))
    assert set(bench.statuses()) < set(NAMES)


def test_to_close_does_not_wait_for_what_is_being_fetched(bench: Bench) -> None:
    class Slow(Reader):
        def fetch(self, ref: SceneRef, folder: Path, stopped: Callable[[], bool]) -> list[SceneRef | Skipped]:
            self.asked.append(ref.id)
            while not stopped():
                time.sleep(0.01)
            raise FetchError("stopped")

    reader = Slow()
    fetching = Fetching(reader, bench.workspace, lambda ref: pending(ref.id).keys)  # type: ignore[arg-type]
    with closing(Arrivals(iter([remote(name) for name in NAMES]), fetching)) as scenes:
        scenes.start()
    assert set(reader.asked) <= set(NAMES[:4])
    assert len(reader.asked) == len(set(reader.asked)), "tried again after it was told to stop"


def test_leftovers_of_earlier_runs_go(bench: Bench) -> None:
    for name in ("a", "old"):
        bench.workspace.fetched_folder(name).mkdir(parents=True)
    drop_leftovers(bench.workspace, {"a"})
    assert [path.parent.name for path in left(bench)] == ["a"]


def test_scenes_of_this_machine_need_no_fetching(bench: Bench) -> None:
    def scenes() -> Iterator[PendingScene]:
        yield pending("a")
        yield pending("b")

    with closing(Arrivals(scenes())) as arriving:
        bench.run(scenes=arriving)
    assert bench.statuses() == {"a": "done", "b": "done"}
