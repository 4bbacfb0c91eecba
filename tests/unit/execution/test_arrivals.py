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
from hdm_pipeline.errors import FetchError, HdmError, NoAnswerError, PeerRefusedError, UnsupportedSceneError
from hdm_pipeline.execution import arrivals, silence
from hdm_pipeline.execution.arrivals import Arrivals, Fetching, drop_leftovers
from hdm_pipeline.execution.driver import Driver
from hdm_pipeline.execution.messages import InferTask, Outcome, PublishTask, SurveyTask, Task
from hdm_pipeline.planning import contents
from hdm_pipeline.planning.contents import Contents
from hdm_pipeline.planning.keys import PendingScene
from hdm_pipeline.reporting.events import SceneQuarantined, SceneSplit
from tests.fake_executor import Bench, FakeExecutor, pending

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


def known(bench: Bench) -> Contents | None:
    return contents.known(bench.ledger, bench.config, "b", remote("b").keys)


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


def test_a_machine_that_has_fallen_silent_is_not_asked_for_every_scene(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silence, "SECONDS", 0.02)
    many = tuple(f"s{index}" for index in range(40))
    bench.sizes.update(dict.fromkeys(many, (64, 64)))

    def does(name: str) -> None:
        if name not in ("s0", "s3"):
            time.sleep(0.01)
            raise NoAnswerError("no answer in time", where="the archive", remedy="look at it")

    reader = Reader(does)
    run(bench, reader, many)
    assert {name for name, status in bench.statuses().items() if status == "done"} == {"s0", "s3"}
    assert len(set(reader.asked)) < 20
    (last,) = (event for event in bench.told(SceneQuarantined) if event.scene == "s39")
    assert isinstance(last, SceneQuarantined)
    assert type(last.error) is NoAnswerError
    assert "not asked for" in last.error.what
    assert "no answer in time" in last.error.what
    assert "s39" in last.error.where


@pytest.mark.parametrize("error", [FetchError("3 of 4 instances came"), None])
def test_a_machine_that_answers_now_and_then_is_asked_for_every_scene(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: FetchError | None
) -> None:
    monkeypatch.setattr(silence, "SECONDS", 0.0)
    many = tuple(f"s{index}" for index in range(12))
    bench.sizes.update(dict.fromkeys(many, (64, 64)))

    def does(name: str) -> None:
        if int(name[1:]) % silence.SCENES:
            raise NoAnswerError("no answer in time")
        if error is not None:
            raise error

    reader = Reader(does)
    run(bench, reader, many, ahead=1)
    assert set(reader.asked) == set(many)


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
    assert known(bench) == Contents(("x", "y"), ("a localizer",))
    assert left(bench) == []


def test_one_entry_may_hold_none(bench: Bench) -> None:
    def does(name: str) -> list[SceneRef | Skipped] | None:
        return [Skipped("b", "a localizer")] if name == "b" else None

    run(bench, Reader(does), names=("a", "b"))
    assert bench.statuses() == {"a": "done"}
    assert known(bench) == Contents((), ("a localizer",))
    assert left(bench) == []


def test_what_came_with_a_scene_and_is_left_out_is_remembered(bench: Bench) -> None:
    """One volume under the planned id, and a damaged file: the scene keeps its keys, and the file is told."""

    def does(name: str) -> list[SceneRef | Skipped] | None:
        return [replace(remote(name).ref, remote=False), Skipped(name, "damaged")] if name == "b" else None

    fetching = Fetching(Reader(does), bench.workspace, lambda _: pending("other").keys)  # type: ignore[arg-type]
    with closing(Arrivals(iter([remote("a"), remote("b")]), fetching)) as scenes:
        tasks = bench.run(scenes=scenes).given
    assert bench.statuses() == {"a": "done", "b": "done"}
    assert [task.pending.keys for task in tasks if isinstance(task, SurveyTask) and task.scene == "b"] == [
        remote("b").keys
    ]
    assert bench.told(SceneSplit) == [SceneSplit(scene="b", parts=("b",), left_out=("damaged",))]
    assert known(bench) == Contents(("b",), ("damaged",))
    assert left(bench) == []


def test_what_is_no_longer_left_out_is_forgotten(bench: Bench) -> None:
    contents.note(bench.ledger, bench.config, "b", remote("b").keys, Contents(("b",), ("damaged",)))
    run(bench, Reader(), names=("b",))
    assert known(bench) is None


def test_a_series_of_many_scenes_is_surveyed_as_there_is_room(bench: Bench) -> None:
    """What is staged ahead of the model is bounded, however much comes at once."""
    many = tuple(f"p{index:02}" for index in range(60))
    bench.sizes.update(dict.fromkeys(many, (64, 64)))
    ahead: list[int] = []

    def script(task: Task) -> None:
        seen = {other.scene for other in bench.executor.given if isinstance(other, SurveyTask)}
        ended = {other.scene for other in bench.executor.ended if isinstance(other, InferTask)}
        ahead.append(len(seen - ended))

    def slow_model(tasks: list[Task]) -> int:
        return next((index for index, task in enumerate(tasks) if not isinstance(task, InferTask)), 0)

    run(bench, Reader(lambda _: parts(*many)), names=("b",), script=script, choose=slow_model)
    assert bench.statuses() == dict.fromkeys(many, "done")
    assert max(ahead) < 30


@pytest.mark.parametrize(("error", "stays"), [(UnsupportedSceneError("large"), False), (FetchError("gone"), True)])
def test_what_came_of_a_series_that_is_not_asked_for_again_goes(bench: Bench, error: HdmError, stays: bool) -> None:
    def does(name: str) -> None:
        (bench.workspace.fetched_folder(name) / "half").write_text("much of it")
        raise error

    run(bench, Reader(does), names=("b",))
    assert bench.statuses() == {"b": "quarantined"}
    assert bool(left(bench)) is stays


def test_fetched_files_are_for_nobody_else(bench: Bench) -> None:
    modes: list[int] = []

    def does(name: str) -> None:
        modes.append(bench.workspace.fetched_folder(name).stat().st_mode & 0o777)

    bench.workspace.fetched_folder("a").mkdir(parents=True)
    run(bench, Reader(does), names=("a", "b"))
    assert modes == [0o700] * 2


def test_a_scene_that_comes_while_a_step_runs_is_surveyed_beside_it(bench: Bench) -> None:
    """The step on the first scene ends only after the second, which is slow to come, was surveyed."""
    come = threading.Event()

    class Busy(FakeExecutor):
        def next(self, timeout: float | None = None) -> Outcome | None:
            held = [task for task in self.waiting if task.scene == "a" and task.step == "stage"]
            if held and not self.surveyed("b"):
                assert timeout is not None, "nobody looks whether a scene has come"
                come.set()
                time.sleep(timeout)
                return None
            return super().next(timeout)

        def surveyed(self, scene: str) -> bool:
            return any(isinstance(task, SurveyTask) and task.scene == scene for task in self.given)

    executor = Busy(bench.config, bench.sizes)
    reader = Reader(lambda name: come.wait(5) and None if name == "b" else None)  # type: ignore[arg-type,return-value]
    fetching = Fetching(reader, bench.workspace, lambda ref: pending(ref.id).keys)  # type: ignore[arg-type]
    with closing(Arrivals(iter([pending("a"), remote("b")]), fetching)) as scenes:
        Driver(bench.context, executor, bench.ledger, bench.events.append).run(scenes)
    assert bench.statuses() == {"a": "done", "b": "done"}


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
    trash = [bench.workspace.fetched_folder(name).with_name(".trash-fetched-17") for name in ("a", "b")]
    for folder in trash:
        folder.mkdir(parents=True)
        (folder / "file").write_text("a run was killed while it removed this")
    drop_leftovers(bench.workspace, {"a"})
    assert [path.parent.name for path in left(bench)] == ["a"]
    assert not any(folder.exists() for folder in trash)


def test_scenes_of_this_machine_need_no_fetching(bench: Bench) -> None:
    def scenes() -> Iterator[PendingScene]:
        yield pending("a")
        yield pending("b")

    with closing(Arrivals(scenes())) as arriving:
        bench.run(scenes=arriving)
    assert bench.statuses() == {"a": "done", "b": "done"}
