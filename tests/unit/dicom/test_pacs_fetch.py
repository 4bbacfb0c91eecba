"""Listing and fetching from a DICOMweb peer that errs, lies or attacks: typed errors, and no file outside the inbox."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from hdm_dicom.reader import DicomReader
from hdm_pipeline.config.file import PipelineFileError
from hdm_pipeline.contracts import SceneRef, Skipped
from hdm_pipeline.errors import (
    ConfigError,
    FetchError,
    HdmError,
    NoAnswerError,
    OutputError,
    PeerError,
    QuietArchiveError,
    UnsupportedSceneError,
)
from hdm_pipeline.pipeline import Pipeline
from tests.dicom_series import uid
from tests.dicomweb_peer import SERIES, STUDY, Plan, encoded, peer, reader
from tests.pacs_archive import write_pipeline


def fetched(plan: Plan, folder: Path, **options: Any) -> list[SceneRef | Skipped]:
    (inbox := folder / "inbox").mkdir(exist_ok=True)
    with peer(plan) as uri:
        ours = reader(**options)
        (ref,) = ours.discover(uri)
        assert isinstance(ref, SceneRef)
        return ours.fetch(ref, inbox)


def test_a_good_peer(tmp_path: Path) -> None:
    (found,) = fetched(Plan(), tmp_path)
    assert isinstance(found, SceneRef)
    assert (len(found.members), found.remote) == (3, False)
    names = [path.name for path in (tmp_path / "inbox").iterdir()]
    assert not any(uid("series", index) in name for name in names for index in range(3))


@pytest.mark.parametrize(
    ("plan", "error", "what"),
    [
        (Plan(parts=[encoded(0, SOPInstanceUID="../../../evil")]), FetchError, "SOPInstanceUID is no UID"),
        (Plan(parts=[encoded(0, SeriesInstanceUID=uid("other"))]), FetchError, "another series"),
        (Plan(parts=[b"<html>"]), FetchError, "no DICOM file"),
        (Plan(parts=[encoded(0), encoded(1)]), FetchError, "no DICOM file|has 3 instances, and sends 2"),
        (Plan(parts=[encoded(0)] * 3), FetchError, "sends 1"),
        (Plan(raw=[b"--xx\r\n\r\n", encoded(0)[:300]]), FetchError, "ends before its end"),
        (Plan(raw=[b"{}"], parts=[]), FetchError, "ends before its end"),
        (Plan(raw=[b"--xx\r\n\r\n", *[b"x"] * 1000], wait=0.02), NoAnswerError, "less than 1024 bytes a second"),
        (Plan(raw=[b"--xx\r\n\r\n", b"x"], wait=1.5), NoAnswerError, "in time"),
        (Plan(raw=[b"--xx\r\n\r\n", *[b"x" * 100_000] * 50]), UnsupportedSceneError, "more than 1000000 bytes"),
        (Plan(broken=1), NoAnswerError, "breaks"),
        (Plan(listed=["../evil"] * 4), FetchError, "valid UIDs"),
    ],
    ids=lambda value: "" if isinstance(value, Plan) else str(getattr(value, "__name__", value))[:24],
)
def test_a_bad_peer(plan: Plan, error: type[HdmError], what: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=what) as caught:
        fetched(plan, tmp_path, max_fetch_bytes=1_000_000)
    assert type(caught.value) is error
    assert caught.value.where
    assert [path.name for path in tmp_path.iterdir()] == ["inbox"], "a file outside the inbox"
    assert not list((tmp_path / "inbox").glob(".*")), "a partial file is left"


def test_a_second_attempt_asks_for_the_rest_only(tmp_path: Path) -> None:
    parts = [encoded(index) for index in range(3)]
    with pytest.raises(FetchError):
        fetched(Plan(parts=parts[:1]), tmp_path)
    plan = Plan(parts=parts)
    (found,) = fetched(plan, tmp_path)
    assert isinstance(found, SceneRef)
    assert len(found.members) == 3
    retrieved = [
        path.rpartition("/")[2] for path in plan.asked if not path.endswith(("studies", "series", "instances"))
    ]
    assert sorted(retrieved) == sorted([uid("series", 1), uid("series", 2)])


def test_a_peer_that_knows_no_pages_is_not_asked_for_ever() -> None:
    with peer(Plan(pages=False)) as uri:
        assert len(list(reader().discover(uri))) == 1


def test_a_peer_that_lists_no_uids() -> None:
    with peer(Plan(study="1.2/../3")) as uri, pytest.raises(PeerError, match="valid UIDs"):
        list(reader().discover(uri))


def test_fetching_stops_when_asked_and_keeps_what_is_complete(tmp_path: Path) -> None:
    asked = iter([False] * 2)
    with peer(Plan()) as uri:
        ours = reader()
        (ref,) = ours.discover(uri)
        assert isinstance(ref, SceneRef)
        with pytest.raises(FetchError, match="was stopped"):
            ours.fetch(ref, tmp_path, lambda: next(asked, True))
    assert 0 < len(list(tmp_path.iterdir())) < 3
    assert not list(tmp_path.glob(".*"))


def test_a_disk_that_takes_nothing_is_not_the_peer_s_fault(tmp_path: Path) -> None:
    (inbox := tmp_path / "inbox").mkdir()

    def stopped() -> bool:  # the first thing that is asked of an inbox which takes an instance
        if inbox.exists():
            shutil.rmtree(inbox)
        return False

    with peer(Plan()) as uri:
        ours = reader()
        (ref,) = ours.discover(uri)
        assert isinstance(ref, SceneRef)
        with pytest.raises(OutputError, match="cannot be written") as caught:
            ours.fetch(ref, inbox, stopped)
    assert caught.value.scope == "run"


def test_wildcards_are_sent_as_they_are() -> None:
    plan = Plan()
    with peer(plan) as uri:
        list(reader(query={"SeriesDescription": "A B?"}).discover(f"{uri}?PatientID=X*"))
    assert "PatientID=X*" in plan.queries[0]
    assert any("SeriesDescription=A%20B?" in query for query in plan.queries)


def test_series_without_images_are_left_out_and_told() -> None:
    with peer(Plan(modality="SR")) as uri:
        listed = iter(reader().discover(uri))
        found = next(listed)
        with pytest.raises(QuietArchiveError, match="the one series that the PACS lists is not wanted"):
            next(listed)
    assert isinstance(found, Skipped)
    assert found.reason == "1 series of SR: no images"
    assert STUDY not in str(found)


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (Plan(said={"Manufacturer": "hdm_pipeline"}), "a product of this pipeline"),
        (Plan(modality="OT", sop_class="1.2.840.10008.5.1.4.1.1.30"), "a parametric map"),
        (Plan(modality="OT", sop_class="1.2.840.10008.5.1.4.1.1.7.4"), ""),
        (Plan(said={"Manufacturer": "hdm_scanners"}), ""),
    ],
)
def test_products_that_were_sent_there_are_no_scenes(plan: Plan, reason: str) -> None:
    with peer(plan) as uri:
        first = next(iter(reader().discover(uri)))
    assert isinstance(first, Skipped) == bool(reason)
    assert reason in (first.reason if isinstance(first, Skipped) else "")
    assert not any(path.endswith(SERIES) for path in plan.asked), "it was fetched"


def test_nothing_matches() -> None:
    with peer(Plan(nothing=True)) as uri, pytest.raises(QuietArchiveError) as caught:
        list(reader().discover(f"{uri}?PatientName=ROE*&Modality=MR"))
    assert "ROE" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "options", "what"),
    [
        ("dicomweb://host/x", {"allow_network": False}, "network is not allowed"),
        ("dicomweb://host/x?SOPInstanceUID=1.2", {}, "chooses instances"),
        ("dicomweb://host/x?StudyInstanceUID=1.2/3", {}, "no UID"),
        ("dicomweb://host/x?Modality=CT", {"query": {"Modality": "MR"}}, "in the address, too"),
        ("dicomweb://host/x?Modality=CT", {"query": {"Modality": "CT"}}, "in the address, too"),
        ("dicomweb://host/x", {"retrieve": "move"}, "C-MOVE is of dimse"),
        ("dicomweb://host/x?StudyDate=yesterday", {}, "StudyDate is no date"),
        ("dicomweb://host/x?StudyDate=20260230", {}, "StudyDate is no date"),
        ("dicomweb://host/x?StudyDate=2026-01-31", {}, "StudyDate is no date"),
        ("dimse://A@host:104", {"query": {"StudyDate": "-"}}, "StudyDate is no date"),
        ("dimse://A@host:104", {"query": {"StudyTime": "8:00"}}, "StudyTime is no time"),
        ("dimse://A@host:104", {"query": {"SeriesInstanceUID": "1.2/3"}}, "SeriesInstanceUID is no UID"),
        ("dicomweb://host/x?FrameOfReferenceUID=one", {}, "FrameOfReferenceUID is no UID"),
        ("dicomweb://host/x", {"query": {"StudyDat": "2026"}}, "no attribute"),
        ("dicomweb://host/x", {"connection": {"password": "hunter2"}}, "does not belong"),
        ("dimse://host:104", {}, "no application entity"),
        ("https://host/dicom-web", {}, "does not take addresses of https"),
    ],
)
def test_wrong_inputs_are_told_before_anything_is_asked(uri: str, options: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        DicomReader({"allow_network": True, **options}).check_input(uri)
    assert "hunter2" not in str(caught.value)


def test_values_that_a_pacs_can_match() -> None:
    for key, value in {
        "StudyDate": ("20260131", "20260101-", "-20260131", "20260101-20260131"),
        "StudyTime": ("09", "0930", "093015.5", "0800-1730"),
        "StudyInstanceUID": ("1.2", "1.2,1.3", "1.2%5C1.3"),
        "PatientID": ("A-1*",),
    }.items():
        for one in value:
            DicomReader({"allow_network": True}).check_input(f"dicomweb://host/x?{key}={one}")
    move = {"allow_network": True, "retrieve": "move", "connection": {"plain": True}}
    DicomReader(move).check_input("dimse://A@host:104")


def test_validate_asks_nobody_and_names_the_key(tmp_path: Path) -> None:
    weights = Path("builtin:pyramid-small")
    path = write_pipeline(tmp_path, weights, "out", uri="dicomweb://nowhere.invalid/x?PatientID=ROE")
    with pytest.raises(PipelineFileError) as caught:
        Pipeline.from_yaml(path).validate()
    (problem,) = caught.value.problems
    assert (problem.key, problem.remedy) == ("input.uri", "set input.network: true")
    assert "ROE" not in str(caught.value)
    path = write_pipeline(tmp_path, weights, "out", uri="dicomweb://nowhere.invalid/x", network=True)
    assert Pipeline.from_yaml(path).validate() == []


def test_folders_are_no_addresses() -> None:
    DicomReader().check_input("folder/dicomweb")


def test_a_peer_without_an_answer_is_told_from_one_that_sends_too_little(tmp_path: Path) -> None:
    with pytest.raises(FetchError) as caught:
        fetched(Plan(broken=9), tmp_path)
    assert type(caught.value) is NoAnswerError
    with pytest.raises(FetchError) as caught:
        fetched(Plan(parts=[encoded(0)] * 3), tmp_path)
    assert type(caught.value) is FetchError


def test_series_are_chosen_by_what_the_pacs_says_of_them() -> None:
    """Of a study with MR and CT the MR is not fetched to learn that; the reason repeats no description."""
    said = {"SeriesDescription": "ROE liver", "ProtocolName": "", "Manufacturer": "ACME"}
    for select, reason in (
        ({"modality": "MR"}, "input.select: modality CT is not asked for"),
        ({"exclude": {"series_description": "*LIVER*"}}, "input.select: its series_description is excluded"),
        ({"manufacturer": ["other", "more"]}, "input.select: its manufacturer is not asked for"),
    ):
        with peer(plan := Plan(said=said)) as uri:
            found = next(iter(reader(select=select).discover(uri)))
        assert isinstance(found, Skipped)
        assert found.reason == reason
        assert found.uri.startswith("CT-")
    (query,) = (query for path, query in zip(plan.asked, plan.queries, strict=True) if path.endswith("/series"))
    assert "includefield=Manufacturer" in query
    assert "SeriesDescription" not in query, "asked for what nothing is chosen by"


@pytest.mark.parametrize(
    "select",
    [
        {"protocol": "abdomen", "body_part": "LIVER"},  # one is empty in the list, the other is not told
        {"image_type": "*/axial", "min_slices": 100, "modality": "ct"},  # of images, not of a series
        {"series_description": "*liver*", "exclude": {"manufacturer": "other"}},
    ],
)
def test_what_a_list_does_not_tell_is_judged_when_it_is_here(select: dict[str, Any]) -> None:
    with peer(Plan(said={"SeriesDescription": "ROE liver", "ProtocolName": "", "Manufacturer": "ACME"})) as uri:
        (found,) = reader(select=select).discover(uri)
    assert isinstance(found, SceneRef)
    assert "ROE" not in str(found)
    assert "ROE" not in found.recipe
