"""What a peer lacks is asked of SQLite, which finds the same as the rules for one scene."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hdm_pipeline.contracts import SendAnswer
from hdm_pipeline.delivery import planned
from hdm_pipeline.delivery.courier import Courier
from hdm_pipeline.delivery.parcel import is_settled, parcel_of
from hdm_pipeline.output.deliveries import Deliveries, Delivery, Lacking, read_lacking
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.ledger import Ledger, SceneRecord
from hdm_pipeline.planning.routes import Route

PEER, OTHER = "dicomweb://pacs/dicom-web", "dimse://B@pacs:104"
NAMES = ["mask", "score", 'a "b".c']
SOME = st.lists(st.sampled_from(NAMES), unique=True).map(sorted)
INFO = st.fixed_dictionaries(
    {},
    optional={
        "products": st.dictionaries(st.sampled_from(NAMES), st.sampled_from([[], ["x/one"], ["x/one", "x/two"]])),
        "send": st.lists(st.sampled_from([PEER, OTHER]), unique=True),
    },
)
KNOWN = st.none() | st.builds(
    Delivery,
    st.sampled_from([PEER, OTHER]),
    st.just("a"),
    st.sampled_from(["key", "older"]),
    SOME.map(tuple),
    st.booleans(),
    error=st.none() | st.just({"what": "away", "remedy": "wait"}),
)


class Peer:
    """Takes everything."""

    def fits(self, path: Path) -> bool:
        return True

    def send(self, paths: list[Path]) -> list[SendAnswer]:
        return [SendAnswer("stored", "stored") for _ in paths]


def route(*products: str, to: str = PEER) -> Route:
    return Route(to, Peer(), products)  # type: ignore[arg-type]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    found = Workspace(tmp_path)
    found.create()
    return found


@given(INFO, KNOWN, SOME)
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_a_peer_lacks(
    workspace: Workspace, info: dict[str, Any], known: Delivery | None, asked: list[str]
) -> None:
    workspace.ledger.unlink(missing_ok=True)
    record = SceneRecord("a", "key", status="done", info=info)
    with Ledger.open(workspace.ledger) as ledger:
        ledger.upsert_scene(record)
        if known is not None:
            with Deliveries(workspace.ledger) as deliveries:
                deliveries.record([known])
        mine = known if known is not None and known.peer == PEER else None
        parcel = parcel_of(record, route(*asked))
        lacks = parcel is not None and not is_settled(parcel, mine)
        failed = mine is not None and mine.error is not None
        found = [Lacking("a", PEER in info.get("send", ()), failed, "done")] if lacks else []
        assert read_lacking(workspace.ledger, PEER, asked) == found
        with Deliveries(workspace.ledger) as deliveries:
            assert deliveries.lacking(PEER, asked) == found


def test_owed_is_what_the_pipeline_asks_and_what_vanished_was_to_get(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = [route("mask"), route("mask", "score", to=OTHER)]
    with Ledger.open(workspace.ledger) as ledger:
        for scene, send in (("done", ()), ("sent", ()), ("gone", (PEER,)), ("gone unasked", ()), ("busy", (PEER,))):
            (workspace.root / scene).mkdir()
            (workspace.root / scene / "mask.tif").touch()
            info = {"products": {"mask": [f"{scene}/mask.tif"]}, "send": list(send)}
            ledger.upsert_scene(SceneRecord(scene, "key", status="done", info=info))
        with Deliveries(workspace.ledger) as deliveries:
            deliveries.record([Delivery(PEER, "sent", "key", ("mask",), True)])
            deliveries.record([Delivery(OTHER, "sent", "key", ("mask",), True)])  # `score` was not made
        plan: Any = SimpleNamespace(done={"done", "sent"}, vanished=("gone", "gone unasked"), scenes=("busy",))
        monkeypatch.setattr(planned, "routes", lambda _: peers)
        config: Any = None
        assert [(one.to, one.owed) for one in planned.planned_sends(config, plan, workspace)] == [(PEER, 2), (OTHER, 1)]
        with Courier(peers, workspace, ledger) as courier:
            assert courier.catch_up(plan.done, plan.vanished) == 3
            assert [one.sent for one in courier.finish(lambda: False, lambda event: None)] == [2, 1]
        with Courier(peers, workspace, ledger) as courier:
            assert courier.catch_up(plan.done, plan.vanished) == 0
        assert [one.owed for one in planned.planned_sends(config, plan, workspace)] == [0, 0]
        assert ledger.scene("gone") is not None


def test_where_no_scene_is_known_peers_get_what_they_were_to_get(workspace: Workspace) -> None:
    """A PACS that lists nothing tonight: neither what is there nor what is gone is known, but what was asked for is."""
    with Ledger.open(workspace.ledger) as ledger:
        for scene, status, send in (
            ("done", "done", [PEER]),
            ("unasked", "done", []),
            ("gone", "vanished", [PEER]),
            ("broken", "quarantined", [PEER]),
            ("sent", "done", [PEER]),
        ):
            (workspace.root / scene).mkdir()
            (workspace.root / scene / "mask.tif").touch()
            info = {"products": {"mask": [f"{scene}/mask.tif"]}, "send": send}
            ledger.upsert_scene(SceneRecord(scene, "key", status=status, info=info))
        with Deliveries(workspace.ledger) as deliveries:
            deliveries.record([Delivery(PEER, "sent", "key", ("mask",), True)])
        with Courier([route("mask")], workspace, ledger) as courier:
            assert courier.catch_up_asked() == 2
            assert [one.sent for one in courier.finish(lambda: False, lambda event: None)] == [2]
        with Courier([route("mask")], workspace, ledger) as courier:
            assert courier.catch_up_asked() == 0


def test_nothing_is_owed_where_nothing_was_ever_done(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    plan: Any = SimpleNamespace(done=set(), vanished=(), scenes=("a",))
    monkeypatch.setattr(planned, "routes", lambda _: [route("mask")])
    config: Any = None
    (one,) = planned.planned_sends(config, plan, workspace)
    assert one.owed == 0
    assert not workspace.ledger.exists()
