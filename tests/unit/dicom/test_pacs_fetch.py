"""Listing and fetching from a DICOMweb peer that errs, lies or attacks: typed errors, and no file outside the inbox."""

from __future__ import annotations

import io
import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import FileDataset

from hdm_dicom.reader import DicomReader
from hdm_pipeline.config.file import PipelineFileError
from hdm_pipeline.contracts import SceneRef, Skipped
from hdm_pipeline.errors import (
    ConfigError,
    EmptyArchiveError,
    FetchError,
    HdmError,
    NoAnswerError,
    OutputError,
    PeerError,
    PeerSilentError,
    SupportError,
    UnsupportedSceneError,
)
from hdm_pipeline.output.lock import RunLock
from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.plugin.registry import archive_reader
from hdm_pipeline.support.remote import borrowed_examples, local_examples
from tests.dicom_series import make_slice, uid
from tests.pacs_archive import write_pipeline

STUDY, SERIES = uid("study"), uid("series")
TAGS = {
    "study": "0020000D",
    "series": "0020000E",
    "instance": "00080018",
    "modality": "00080060",
    "count": "00201209",
}


def encoded(index: int, **change: Any) -> bytes:
    made: FileDataset = make_slice(index, np.full((8, 9), index, np.uint16), position=(0, 0, index))
    for name, value in change.items():
        setattr(made, name, value)
    made.save_as(file := io.BytesIO(), enforce_file_format=True)
    return file.getvalue()


def item(**values: Any) -> dict[str, Any]:
    return {TAGS[name]: {"vr": "UI", "Value": [value]} for name, value in values.items()}


@dataclass
class Plan:
    """What the peer answers.

    Attributes:
        listed: UIDs of the instances that it lists.
        parts: files that it sends for the series.
        pages: whether it knows offsets.
        raw: the body of a series instead of parts, in pieces.
        wait: seconds between two pieces.
        modality: of the series.
        study: UID that it lists.
        broken: how often it breaks off before it sends.
        nothing: it lists nothing.
        asked: paths that were asked for.
        queries: of these.
        said: more of the series, by keyword.
    """

    listed: list[str] = field(default_factory=lambda: [uid("series", index) for index in range(3)])
    parts: list[bytes] = field(default_factory=lambda: [encoded(index) for index in range(3)])
    pages: bool = True
    raw: list[bytes] | None = None
    wait: float = 0.0
    modality: str = "CT"
    study: str = STUDY
    broken: int = 0
    nothing: bool = False
    asked: list[str] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    said: dict[str, str] = field(default_factory=dict)


@contextmanager
def peer(plan: Plan) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            plan.asked.append(path)
            plan.queries.append(query)
            last = path.rpartition("/")[2]
            if last in ("studies", "series", "instances"):
                rows = {
                    "studies": [item(study=plan.study)],
                    "series": [
                        {
                            **item(study=STUDY, series=SERIES, modality=plan.modality, count=len(plan.listed)),
                            **{
                                f"{tag_for_keyword(key):08X}": {"vr": "LO", "Value": [v]}
                                for key, v in plan.said.items()
                            },
                        },
                    ],
                    "instances": [item(study=STUDY, series=SERIES, instance=one) for one in plan.listed],
                }[last]
                self.answer(
                    "application/dicom+json",
                    [json.dumps(rows if ("offset=0" in query or not plan.pages) and not plan.nothing else []).encode()],
                )
                return
            if plan.broken:
                plan.broken -= 1
                self.connection.close()
                return
            one = {uid("series", index): part for index, part in enumerate(plan.parts)}
            parts = [one[last]] if last in one else plan.parts
            body = [b"--xx\r\nContent-Type: application/dicom\r\n\r\n" + part + b"\r\n" for part in parts] + [b"--xx--"]
            self.answer('multipart/related; boundary="xx"', plan.raw if plan.raw is not None else body)

        def answer(self, kind: str, pieces: list[bytes]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            for piece in pieces:
                self.wfile.write(piece)
                self.wfile.flush()
                if plan.wait and kind.startswith("multi"):
                    time.sleep(plan.wait)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"dicomweb://127.0.0.1:{server.server_port}/web"
    finally:
        server.shutdown()
        server.server_close()


def reader(**options: Any) -> DicomReader:
    return DicomReader({"allow_network": True, "connection": {"plain": True, "timeout": 1}, **options})


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
        (found,) = reader().discover(uri)
    assert isinstance(found, Skipped)
    assert found.reason == "1 series of SR: no images"
    assert STUDY not in str(found)


def test_nothing_matches() -> None:
    with peer(Plan(nothing=True)) as uri, pytest.raises(EmptyArchiveError) as caught:
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


@pytest.mark.parametrize(
    ("query", "what"),
    [("", "named by UID"), ("?Modality=CT", "named by UID"), ("?SeriesInstanceUID=1.x", "no UID")],
)
def test_examples_are_named_by_uid(query: str, what: str, tmp_path: Path) -> None:
    with peer(Plan()) as uri, pytest.raises(SupportError, match=what):
        reader().fetch_example(uri + query, tmp_path)


def test_an_example_is_the_same_file_wherever_it_came_from(tmp_path: Path) -> None:
    stats = []
    for name in ("one", "two"):
        (folder := tmp_path / name).mkdir()
        with peer(Plan()) as uri:
            path = Path(reader().fetch_example(f"{uri}?SeriesInstanceUID={SERIES}", folder))
        stats.append(sorted((each.name, each.stat().st_size, each.stat().st_mtime_ns) for each in path.iterdir()))
    assert stats[0] == stats[1]
    assert len(stats[0]) == 3


def with_examples(root: Path, address: str, **of_input: Any) -> Pipeline:
    """A pipeline whose example lies in a PACS, image and mask."""
    path = write_pipeline(root, Path("builtin:pyramid-small"), "out", **{"uri": "files", "network": True, **of_input})
    content = yaml.safe_load(path.read_text())
    content["input"]["options"] = {"connection": {"plain": True, "timeout": 1}}
    image, mask = f"{address}?SeriesInstanceUID={SERIES}", f"{address}?SOPInstanceUID={uid('series', 1)}"
    content["support"]["classes"][0]["examples"] = [{"image": image, "mask": mask, "slices": [1]}]
    path.write_text(yaml.safe_dump(content))
    return Pipeline.from_yaml(path)


def test_a_pacs_is_not_asked_for_examples_that_are_here(tmp_path: Path) -> None:
    plan = Plan()
    with peer(plan) as address:
        pipeline = with_examples(tmp_path, address)
        ours, folder = archive_reader(pipeline.config), pipeline.workspace.examples
        here = local_examples(pipeline.config, ours, folder)
        asked = len(plan.asked)
        assert asked
        assert local_examples(pipeline.config, ours, folder) == here
        with borrowed_examples(pipeline.config, ours, folder) as borrowed:
            assert borrowed == here
        assert len(plan.asked) == asked
        # What is no longer whole is fetched again.
        image = here.support.classes[0].examples[0].image
        lost = min(Path(image).iterdir())
        lost.unlink()
        assert local_examples(pipeline.config, ours, folder) == here
        assert lost.is_file()
        assert len(plan.asked) > asked


def test_an_example_that_does_not_come_is_named(tmp_path: Path) -> None:
    key = "support.classes.0.examples.0"
    with peer(Plan(nothing=True)) as address:
        pipeline = with_examples(tmp_path, address)
        with pytest.raises(SupportError) as missing:
            pipeline.plan()
        assert missing.value.where.startswith(f"{key}.image: dicomweb://127")
        support = pipeline.config.support
        example = support.classes[0].examples[0].model_copy(update={"image": str(tmp_path / "here")})
        classes = [support.classes[0].model_copy(update={"examples": [example]})]
        config = pipeline.config.model_copy(update={"support": support.model_copy(update={"classes": classes})})
        with pytest.raises(SupportError) as missing:
            local_examples(config, archive_reader(config), tmp_path / "kept")
        assert missing.value.where.startswith(f"{key}.mask: dicomweb://127")
    with pytest.raises(PeerSilentError) as down:
        local_examples(config, archive_reader(config), tmp_path / "kept")
    assert down.value.where.startswith(f"{key}.mask: dicomweb://127")


def test_a_peer_without_an_answer_is_told_from_one_that_sends_too_little(tmp_path: Path) -> None:
    with pytest.raises(FetchError) as caught:
        fetched(Plan(broken=9), tmp_path)
    assert type(caught.value) is NoAnswerError
    with pytest.raises(FetchError) as caught:
        fetched(Plan(parts=[encoded(0)] * 3), tmp_path)
    assert type(caught.value) is FetchError


def test_examples_are_fetched_only_by_who_holds_the_output_directory(tmp_path: Path) -> None:
    """Two runs that begin at once would unlink what the other one fetches."""
    plan = Plan()
    with peer(plan) as address:
        pipeline = with_examples(tmp_path, address)
        pipeline.workspace.create()
        with RunLock(pipeline.workspace.lock, "another run"), pytest.raises(OutputError, match="another run"):
            pipeline.run()
    assert plan.asked == []
    assert not pipeline.workspace.examples.exists()


def test_series_are_chosen_by_what_the_pacs_says_of_them() -> None:
    """Of a study with MR and CT the MR is not fetched to learn that; the reason repeats no description."""
    said = {"SeriesDescription": "ROE liver", "ProtocolName": "", "Manufacturer": "ACME"}
    for select, reason in (
        ({"modality": "MR"}, "input.select: modality CT is not asked for"),
        ({"exclude": {"series_description": "*LIVER*"}}, "input.select: its series_description is excluded"),
        ({"manufacturer": ["other", "more"]}, "input.select: its manufacturer is not asked for"),
    ):
        with peer(plan := Plan(said=said)) as uri:
            (found,) = reader(select=select).discover(uri)
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
