"""One peer's thread: how often it tries, what it puts aside, and what it does once the peer is there again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from hdm_pipeline.contracts import SendAnswer
from hdm_pipeline.delivery.courier import Courier
from hdm_pipeline.delivery.parcel import Parcel
from hdm_pipeline.delivery.postman import ATTEMPTS, Postman
from hdm_pipeline.errors import PluginError
from hdm_pipeline.output.deliveries import Deliveries, Delivery
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.ledger import Ledger, SceneRecord
from hdm_pipeline.planning.routes import Route
from hdm_pipeline.reporting.events import Event, ProductsNotSent, ProductsSent

STORED = SendAnswer("stored", "stored")
AWAY = SendAnswer("unavailable", "away", "wait", again=True)
LOCKED = SendAnswer("unavailable", "locked", "unlock")
FULL = SendAnswer("refused", "full", "make room", again=True)
NO = SendAnswer("refused", "no", "ask")
PEER = "peer://x"
SCENES = ("a", "b", "c", "d")


class Peer:
    """Answers as it is told to, and counts."""

    name: ClassVar[str] = "peer"
    takes: ClassVar[tuple[str, ...]] = ("image/tiff",)

    def __init__(self, answer: Callable[[int, Path], SendAnswer]) -> None:
        self.answer, self.seen = answer, list[str]()

    def check(self) -> Sequence[str]:
        return []

    def fits(self, path: Path) -> bool:
        return path.suffix == ".tif"

    def send(self, files: Sequence[Path]) -> Sequence[SendAnswer]:
        def one(path: Path) -> SendAnswer:
            self.seen.append(path.parent.name)
            return self.answer(len(self.seen), path)

        return [one(path) for path in files]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setattr("hdm_pipeline.delivery.postman.FIRST_PAUSE", 0.001)
    found = Workspace(tmp_path)
    found.create()
    with Ledger.open(found.ledger):
        pass
    for scene in SCENES:
        (tmp_path / scene).mkdir()
        (tmp_path / scene / "mask.tif").write_text(scene)
        (tmp_path / scene / "mask.qml").write_text("a style")
    return found


def deliver(workspace: Workspace, peer: Any, named: bool = True) -> tuple[Postman, list[Event]]:
    """Send one parcel a scene, in this thread."""
    route = Route(PEER, peer, ("mask",), frozenset(("mask",)) if named else frozenset())
    events: list[Event] = []
    postman = Postman(route, workspace, events.append)
    for scene in SCENES:
        files = (("mask", f"{scene}/mask.tif"), ("mask", f"{scene}/mask.qml"))
        postman.offer(Parcel(scene, "key", ("mask",), files))
    postman.close()
    postman.run()
    return postman, events


def known(workspace: Workspace) -> dict[str, Delivery]:
    with Deliveries(workspace.ledger) as deliveries:
        return {one.scene: one for scene in SCENES if (one := deliveries.find(PEER, scene)) is not None}


def test_each_is_sent_once_without_what_does_not_fit(workspace: Workspace) -> None:
    peer = Peer(lambda number, path: STORED)
    postman, events = deliver(workspace, peer)
    assert peer.seen == list(SCENES)
    assert [type(event) for event in events] == [ProductsSent] * 4
    assert (postman.tally.sent, postman.tally.files) == (4, 4)
    assert all(one.complete and list(one.receipts) == [f"{scene}/mask.tif"] for scene, one in known(workspace).items())


def test_a_peer_that_stays_away_is_tried_a_few_times_and_not_for_each_scene(workspace: Workspace) -> None:
    peer = Peer(lambda number, path: AWAY)
    postman, events = deliver(workspace, peer)
    assert peer.seen == ["a"] * ATTEMPTS + ["a"]  # and once at the end
    assert [type(event) for event in events] == [ProductsNotSent] * 4
    assert set(postman.tally.not_sent) == set(SCENES)
    assert all(one.error == {"what": "away", "remedy": "wait"} for one in known(workspace).values())


def test_a_peer_that_lets_nobody_in_is_asked_once(workspace: Workspace) -> None:
    peer = Peer(lambda number, path: LOCKED)
    postman, _ = deliver(workspace, peer)
    assert peer.seen == ["a"]
    assert set(postman.tally.not_sent) == set(SCENES)
    assert postman.tally.refused == set()


def test_once_it_is_there_again_it_gets_what_was_put_aside(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hdm_pipeline.delivery.postman.RECHECK", 0.0)
    peer = Peer(lambda number, path: AWAY if number <= ATTEMPTS else STORED)
    postman, events = deliver(workspace, peer)
    assert peer.seen == ["a"] * ATTEMPTS + ["b", "a", "c", "d"]
    assert postman.tally.not_sent == {}
    assert [event.scene for event in events] == ["b", "a", "c", "d"]


def test_a_short_outage_is_waited_for(workspace: Workspace) -> None:
    peer = Peer(lambda number, path: AWAY if number == 1 else STORED)
    postman, _ = deliver(workspace, peer)
    assert peer.seen == ["a", "a", "b", "c", "d"]
    assert postman.tally.sent == 4


@pytest.mark.parametrize(("answer", "tries"), [(FULL, ATTEMPTS), (NO, 1)])
def test_a_file_that_is_refused_keeps_no_other_back(workspace: Workspace, answer: SendAnswer, tries: int) -> None:
    peer = Peer(lambda number, path: answer if path.parent.name == "b" else STORED)
    postman, _ = deliver(workspace, peer)
    assert peer.seen == ["a"] + ["b"] * tries + ["c", "d"]
    assert postman.tally.not_sent == {"b": {"what": answer.what, "remedy": answer.remedy}}
    assert postman.tally.refused == (set() if answer.again else {"b"})


def test_a_product_that_is_gone_is_told(workspace: Workspace) -> None:
    (workspace.root / "c" / "mask.tif").unlink()
    peer = Peer(lambda number, path: STORED)
    postman, _ = deliver(workspace, peer)
    assert peer.seen == ["a", "b", "d"]
    assert "no longer where it was published" in postman.tally.not_sent["c"]["what"]


def test_what_nobody_named_and_does_not_fit_is_passed_over(workspace: Workspace) -> None:
    peer = Peer(lambda number, path: STORED)
    peer.fits = lambda path: False  # type: ignore[method-assign]
    postman, events = deliver(workspace, peer, named=False)
    assert (peer.seen, events, postman.tally.not_sent) == ([], [], {})
    assert all(one.complete and not one.receipts for one in known(workspace).values())


def test_a_plug_in_that_fails_ends_neither_the_run_nor_the_scene(workspace: Workspace) -> None:
    def fail(number: int, path: Path) -> SendAnswer:
        raise PluginError("a bug", remedy="tell its author")

    peer = Peer(fail)
    postman, _ = deliver(workspace, peer)
    assert postman.tally.not_sent["a"] == {"what": "a bug", "remedy": "tell its author"}
    assert set(postman.tally.not_sent) == set(SCENES)
    # After some scenes the peer is left alone; what was not tried has no failure of its own.
    assert peer.seen == ["a", "b", "c"]
    assert [one.scene for one in known(workspace).values() if one.error is None] == ["d"]


def test_a_plug_in_that_fails_on_one_scene_keeps_no_other_back(workspace: Workspace) -> None:
    def fail(number: int, path: Path) -> SendAnswer:
        if path.parent.name == "a":
            raise PluginError("a bug", remedy="tell its author")
        return STORED

    peer = Peer(fail)
    postman, _ = deliver(workspace, peer)
    assert peer.seen == list(SCENES)
    assert set(postman.tally.not_sent) == {"a"}
    assert known(workspace)["a"].error == {"what": "a bug", "remedy": "tell its author"}


def test_what_failed_before_is_tried_last(workspace: Workspace) -> None:
    def fail(number: int, path: Path) -> SendAnswer:
        if path.parent.name != "d":
            raise PluginError("a bug")
        return STORED

    deliver(workspace, Peer(fail))
    peer = Peer(fail)
    with Ledger.open(workspace.ledger) as ledger:
        for scene in SCENES:
            info = {"products": {"mask": [f"{scene}/mask.tif"]}, "send": [PEER]}
            ledger.upsert_scene(SceneRecord(scene, "key", status="done", info=info))
        with Courier([Route(PEER, peer, ("mask",))], workspace, ledger) as courier:
            courier.catch_up(SCENES, ())
            courier.finish(lambda: False, lambda event: None)
    assert peer.seen == ["d", "a", "b", "c"]
    assert known(workspace)["d"].complete


def test_stopped_the_rest_waits_for_the_next_run(workspace: Workspace) -> None:
    def stop(number: int, path: Path) -> SendAnswer:
        postman.stop()
        return STORED

    route = Route(PEER, Peer(stop), ("mask",), frozenset(("mask",)))
    postman = Postman(route, workspace, lambda event: None)
    for scene in SCENES:
        postman.offer(Parcel(scene, "key", ("mask",), (("mask", f"{scene}/mask.tif"),)))
    postman.close()
    postman.run()
    assert (postman.tally.sent, postman.tally.waiting, postman.tally.not_sent) == (1, 3, {})


def test_no_thread_sends_once_the_courier_is_gone(workspace: Workspace) -> None:
    def slow(number: int, path: Path) -> SendAnswer:
        began.set()
        time.sleep(0.3)
        return STORED

    def fail(ledger: Ledger) -> None:
        with Courier([Route(PEER, Peer(slow), ("mask",))], workspace, ledger) as courier:
            courier.catch_up(["a"], ())
            assert began.wait(10)
            raise KeyboardInterrupt

    began = threading.Event()
    with Ledger.open(workspace.ledger) as ledger:
        ledger.upsert_scene(SceneRecord("a", "key", status="done", info={"products": {"mask": ["a/mask.tif"]}}))
        with pytest.raises(KeyboardInterrupt):
            fail(ledger)
        assert known(workspace)["a"].complete  # what was on its way is noted before the ledger is closed
