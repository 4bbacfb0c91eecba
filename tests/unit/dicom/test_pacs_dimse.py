"""Listing and fetching by DIMSE from an application entity that errs, lies or breaks off: typed errors."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, evt
from pynetdicom.sop_class import CTImageStorage

from hdm_dicom.reader import DicomReader
from hdm_dicom.remote.inbox import Inbox
from hdm_pipeline.contracts import SceneRef
from hdm_pipeline.errors import FetchError, HdmError, NoAnswerError, PeerError, PeerRefusedError, UnsupportedSceneError
from tests.dicom_series import make_slice, uid
from tests.judges.orthanc import free_port

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"


def instance(index: int, **change: Any) -> Dataset:
    made = make_slice(index, np.full((64, 64), index, np.uint16), position=(0, 0, index))
    for name, value in change.items():
        setattr(made, name, value)
    return made


def compressed(index: int) -> Dataset:
    """An image as it lies in a file: pynetdicom writes what was never in one as it likes."""
    made = instance(index)
    made.compress(RLELossless)
    file = io.BytesIO()
    made.save_as(file, enforce_file_format=True)
    file.seek(0)
    return pydicom.dcmread(file)


@dataclass
class Plan:
    """What the peer does: studies and instances that it lists and sends, and what it does instead.

    Attributes:
        studies: UIDs.
        sent: data sets.
        count: instances that it says there are.
        services: that it offers.
        status: of every answer that is not pending.
        silent: seconds that it waits before it sends.
        breaks: it aborts instead of sending.
        tells_classes: it says of which SOP classes instances are, if it is asked.
        lists_instances: it answers questions for them.
    """

    studies: list[str] = field(default_factory=lambda: [uid("study")])
    sent: list[Dataset] = field(default_factory=lambda: [instance(index) for index in range(3)])
    count: int = 3
    services: tuple[str, ...] = (FIND, GET, MOVE)
    status: int = 0
    silent: float = 0
    breaks: bool = False
    tells_classes: bool = True
    lists_instances: bool = True


@contextmanager
def peer(plan: Plan) -> Iterator[int]:
    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        level = event.identifier.QueryRetrieveLevel
        if plan.status or (level == "IMAGE" and not plan.lists_instances):
            yield plan.status or 0xA900, None
            return
        for study in plan.studies:
            for one in plan.sent if level == "IMAGE" else [None]:
                answer = Dataset()
                answer.StudyInstanceUID, answer.SeriesInstanceUID, answer.Modality = study, uid("series"), "CT"
                answer.NumberOfSeriesRelatedInstances = plan.count
                answer.SOPInstanceUID = one.SOPInstanceUID if one else ""
                if "SOPClassUID" in event.identifier and plan.tells_classes:
                    answer.SOPClassUID = one.SOPClassUID if one else ""
                if "SeriesDescription" in event.identifier:
                    answer.SeriesDescription = "ROE liver"
                yield 0xFF00, answer

    def get(event: evt.Event) -> Iterator[Any]:
        yield len(plan.sent)
        for one in plan.sent:
            time.sleep(plan.silent)
            if plan.breaks:
                event.assoc.abort()
                return
            yield 0xFF00, one

    ours = AE("PEER")
    for service in plan.services:
        ours.add_supported_context(service)
    ours.add_supported_context(CTImageStorage, ALL_TRANSFER_SYNTAXES, scu_role=True, scp_role=True)
    handlers = [(evt.EVT_C_FIND, find), (evt.EVT_C_GET, get), (evt.EVT_C_MOVE, lambda _: iter([(None, None)]))]
    server = ours.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def fetched(plan: Plan, folder: Path, **options: Any) -> Any:
    (inbox := folder / "inbox").mkdir(exist_ok=True)
    given = {"connection": {"plain": True, "timeout": 1}, "max_fetch_bytes": 100_000, **options}
    with peer(plan) as port:
        ours = DicomReader({"allow_network": True, **given})
        (ref,) = ours.discover(f"dimse://PEER@127.0.0.1:{port}?PatientName=ROE")
        assert isinstance(ref, SceneRef)
        return ours.fetch(ref, inbox)


def test_a_good_peer(tmp_path: Path) -> None:
    (found,) = fetched(Plan(), tmp_path)
    assert len(found.members) == 3


@pytest.mark.parametrize("less", [{"tells_classes": False}, {"lists_instances": False}])
def test_a_peer_that_does_not_say_of_which_classes_its_instances_are(tmp_path: Path, less: dict[str, bool]) -> None:
    (found,) = fetched(Plan(**less), tmp_path)  # type: ignore[arg-type]
    assert len(found.members) == 3


def test_compressed_images_come_as_they_are_stored(tmp_path: Path) -> None:
    """A peer accepts one syntax of each context that it is offered, an uncompressed one if it may."""
    sent = [instance(0), compressed(1), compressed(2)]
    (found,) = fetched(Plan(sent=sent), tmp_path)
    assert len(found.members) == 3
    arrived = [pydicom.dcmread(path).file_meta.TransferSyntaxUID for path in (tmp_path / "inbox").iterdir()]
    assert sorted(uid.is_compressed for uid in arrived) == [False, True, True]


@pytest.mark.parametrize(
    ("plan", "options", "error", "what"),
    [
        (Plan(studies=["1/2"]), {}, PeerError, "StudyInstanceUID is no UID"),
        (Plan(status=0xA700), {}, PeerError, "status A700H"),
        (Plan(services=(GET,)), {}, PeerRefusedError, "offers none of the services"),
        (Plan(services=(FIND,)), {}, PeerRefusedError, "fetch by C-GET"),
        (Plan(count=4), {}, FetchError, "has 4 instances, and sends 3"),
        (Plan(sent=[instance(0, SeriesInstanceUID=uid("other"))], count=1), {}, FetchError, "another series"),
        (Plan(sent=[instance(0, PixelData=bytes(200_000))], count=1), {}, UnsupportedSceneError, "more than 100000"),
        (Plan(breaks=True), {}, NoAnswerError, "breaks off"),
        (Plan(services=(FIND, MOVE)), {"retrieve": "move", "move_port": free_port()}, PeerRefusedError, "not know HDM"),
    ],
)
def test_a_bad_peer(plan: Plan, options: dict[str, Any], error: type[HdmError], what: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=what) as caught:
        fetched(plan, tmp_path, **options)
    assert type(caught.value) is error
    assert "ROE" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["inbox"]
    assert not list((tmp_path / "inbox").glob(".*"))


def test_an_instance_without_end_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[object] = []
    monkeypatch.setattr(Inbox, "put", lambda _, pieces: taken.append(pieces))
    plan = Plan(sent=[instance(0, PixelData=bytes(20_000_000))], count=1)
    with pytest.raises(UnsupportedSceneError, match="more than 100000"):
        fetched(plan, tmp_path)
    assert taken == [], "it was held in memory to its end"


def test_a_path_as_uid_is_no_path(tmp_path: Path) -> None:
    plan = Plan(sent=[instance(0)], count=1)
    plan.sent[0].SOPInstanceUID = "../../evil"
    with pytest.raises(FetchError):
        fetched(plan, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["inbox"]


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with peer(Plan()) as taken, pytest.raises(FetchError, match="nobody can listen"):
        fetched(Plan(), tmp_path, retrieve="move", move_port=taken)


@pytest.mark.parametrize(("globs", "taken"), [("*liver*", True), ("*head*", False)])
def test_series_are_chosen_by_what_the_pacs_says_of_them(globs: str, taken: bool) -> None:
    options = {"allow_network": True, "connection": {"plain": True, "timeout": 1}}
    with peer(Plan()) as port:
        ours = DicomReader({**options, "select": {"modality": "CT", "series_description": globs}})
        found = next(iter(ours.discover(f"dimse://PEER@127.0.0.1:{port}?PatientName=ROE")))
    assert isinstance(found, SceneRef) is taken
    assert "ROE" not in str(found)
