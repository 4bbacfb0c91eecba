"""Studies out of a real PACS: Orthanc by DICOMweb (HTTPS, users, client certificates), dcmqrscp by DIMSE."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import yaml
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import Comprehensive3DSRStorage, ExplicitVRLittleEndian, JPEG2000Lossless

from hdm_dicom.reader import DicomReader
from hdm_pipeline.contracts import SceneRef
from hdm_pipeline.errors import FetchError, PeerError, PeerRefusedError, SupportError, UnsupportedSceneError
from hdm_pipeline.output.files import remove_tree
from hdm_pipeline.pipeline import Pipeline
from tests.dicom_series import uid, write_series
from tests.integration.conftest import kit as kit  # a fixture
from tests.judges.conftest import RequireJudge
from tests.judges.dcmqrscp import running as dcmqrscp
from tests.judges.orthanc import INSTALL, Archive, free_port, running
from tests.pacs_archive import MARKERS, disc, leaks_of, marked, write_archive, write_pipeline

_LOCALIZER = "a localizer; input.options.include_derived takes it"


@pytest.fixture(scope="module")
def kit_weights(tmp_path_factory: pytest.TempPathFactory, kit: Path) -> Path:
    from hdm_testkit.network import MeanColor

    from hdm_pipeline.model.checkpoints import save_weights

    path = tmp_path_factory.mktemp("weights") / "mean-color.safetensors"
    save_weights(MeanColor(), path)
    return path


@pytest.fixture
def secure(require_judge: RequireJudge, tmp_path: Path) -> Iterator[Archive]:
    """An Orthanc behind HTTPS that asks for a client's certificate."""
    stunnel = require_judge("stunnel4", "apt-get install stunnel4")
    with running(require_judge("Orthanc", INSTALL), tmp_path / "orthanc", stunnel=stunnel, ask_clients=True) as made:
        yield made


@pytest.fixture
def plain(require_judge: RequireJudge, tmp_path: Path) -> Iterator[Archive]:
    with running(require_judge("Orthanc", INSTALL), tmp_path / "orthanc") as made:
        yield made


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACS_USER", "judge")
    monkeypatch.setenv("PACS_PASSWORD", "secret")


def web_input(archive: Archive, query: str = "", **connection: Any) -> dict[str, Any]:
    """The `input` of a pipeline over an Orthanc."""
    known = {"user_env": "PACS_USER", "password_env": "PACS_PASSWORD"}
    if archive.certificate is None:
        known |= {"plain": True}
    else:
        known |= {
            "ca_file": str(archive.certificate),
            "certificate_file": str(archive.certificate),
            "key_file": str(archive.key),
        }
    uri = archive.web.replace("https://", "dicomweb://").replace("http://", "dicomweb://")
    return {"uri": uri + query, "network": True, "options": {"connection": {**known, **connection}}}


def masks(out: Path) -> dict[str, np.ndarray]:
    found = sorted(out.glob("*/segmentation.nii.gz"))
    return {path.parent.name: np.asarray(nibabel.load(path).dataobj) for path in found}  # type: ignore[attr-defined]


def scenes_of(out: Path) -> dict[str, Any]:
    scenes: dict[str, Any] = json.loads((out / "run.json").read_text())["scenes"]
    return scenes


def test_a_run_over_a_pacs_is_a_run_over_the_folder(secure: Archive, tmp_path: Path, kit_weights: Path) -> None:
    write_archive(tmp_path / "files")
    secure.fill(tmp_path / "files")
    folder = Pipeline.from_yaml(write_pipeline(tmp_path, kit_weights, "folder", uri="files")).run()
    query = "?PatientID=MARKERID&ModalitiesInStudy=CT"
    path = write_pipeline(tmp_path, kit_weights, "pacs", **web_input(secure, query))
    pipeline = Pipeline.from_yaml(path)
    assert pipeline.validate() == []
    assert pipeline.plan().remote == 3
    summary = pipeline.run()
    assert summary.exit_code == 0
    assert sorted(summary.done) == sorted(folder.done)
    expected, found = masks(tmp_path / "folder"), masks(tmp_path / "pacs")
    assert len(found) == 3
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in found)
    assert any(mask.any() for mask in found.values())
    assert list((tmp_path / "pacs").glob(".hdm/scenes/*/fetched")) == []
    assert leaks_of(tmp_path / "pacs") == []
    again = pipeline.run()
    assert (again.done, again.done_before) == ((), 3)


def reader_of(archive: Archive, **options: Any) -> tuple[DicomReader, str]:
    given = web_input(archive)
    return DicomReader({**given["options"], **options, "allow_network": True}), given["uri"]


def test_what_a_list_does_not_tell_is_seen_on_arrival(plain: Archive, tmp_path: Path, kit_weights: Path) -> None:
    """One series with two echoes and a localizer, one of localizers alone, a report, and one good series."""

    def echoes(dataset: Dataset, index: int) -> None:
        marked("study")(dataset, index)
        dataset.Modality, dataset.EchoTime = "MR", 1 + index % 2
        if index == 10:
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    def localizer(dataset: Dataset, index: int) -> None:
        marked("study")(dataset, index)
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    files = tmp_path / "files"
    depths = [2.0 * (index // 2) for index in range(10)] + [0.0]
    write_series(files / "echoes", depths, series="echoes", pixels=lambda index: disc(index // 2), change=echoes)
    write_series(files / "scout", (0.0, 2.0), series="scout", pixels=disc, change=localizer)
    write_archive(files / "more", 1)
    plain.fill(files)
    folder = Pipeline.from_yaml(write_pipeline(tmp_path, kit_weights, "folder", uri="files")).run()
    pipeline = Pipeline.from_yaml(write_pipeline(tmp_path, kit_weights, "pacs", **web_input(plain)))
    summary = pipeline.run()
    assert sorted(summary.done) == sorted(folder.done)
    assert len(summary.done) == 3
    assert (summary.left, summary.exit_code) == (0, 0)
    expected, found = masks(tmp_path / "folder"), masks(tmp_path / "pacs")
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    report = json.loads((tmp_path / "pacs" / "run.json").read_text())
    assert report["totals"]["scenes"] == report["totals"]["done"] == 3
    assert {_LOCALIZER, f"2 files: {_LOCALIZER}"} <= {one["reason"] for one in report["skipped"]}
    again = pipeline.run()
    assert (again.done, again.done_before, again.left) == ((), 3, 0)
    report = json.loads((tmp_path / "pacs" / "run.json").read_text())
    assert report["totals"]["scenes"] == report["totals"]["done"] == 3
    assert {_LOCALIZER, f"2 files: {_LOCALIZER}"} <= {one["reason"] for one in report["skipped"]}
    assert list((tmp_path / "pacs").glob(".hdm/scenes/*/fetched")) == []


def test_what_is_there_is_not_fetched_again(plain: Archive, tmp_path: Path) -> None:
    write_archive(tmp_path / "files", 1)
    plain.fill(tmp_path / "files")
    reader, uri = reader_of(plain)
    (ref,) = (found for found in reader.discover(uri) if isinstance(found, SceneRef))
    (inbox := tmp_path / "inbox").mkdir()
    (first,) = reader.fetch(ref, inbox)
    assert isinstance(first, SceneRef)
    assert first.id == ref.id
    assert len(first.members) == 5
    whole = {path.name: path.read_bytes() for path in inbox.iterdir()}
    times = {path.name: path.stat().st_mtime_ns for path in inbox.iterdir()}
    gone, emptied = sorted(whole)[:2]
    (inbox / gone).unlink()
    (inbox / emptied).write_bytes(b"")
    (inbox / ".7.part").write_bytes(whole[gone][:1000])
    reader.fetch(ref, inbox)
    assert {path.name: path.read_bytes() for path in inbox.iterdir()} == whole
    same = [name for name in whole if (inbox / name).stat().st_mtime_ns == times[name]]
    assert sorted(same) == sorted(whole)[2:]


def test_an_incomplete_series_is_a_typed_error(plain: Archive, tmp_path: Path) -> None:
    write_archive(tmp_path / "files", 1)
    plain.fill(tmp_path / "files")
    reader, uri = reader_of(plain)
    (ref,) = (found for found in reader.discover(uri) if isinstance(found, SceneRef))
    plain.call(f"/instances/{plain.instances()[0]}", method="DELETE")
    (inbox := tmp_path / "inbox").mkdir()
    with pytest.raises(FetchError, match="has 5 instances, and sends 4"):
        reader.fetch(ref, inbox)
    reader, _ = reader_of(plain, max_fetch_bytes=30_000)
    (small := tmp_path / "small").mkdir()
    with pytest.raises(UnsupportedSceneError, match="more than 30000 bytes"):
        reader.fetch(ref, small)


def test_a_killed_run_goes_on(plain: Archive, tmp_path: Path, kit_weights: Path) -> None:
    write_archive(tmp_path / "files", 4, slices=20)
    plain.fill(tmp_path / "files")
    path = write_pipeline(tmp_path, kit_weights, "pacs", **web_input(plain))
    command = [sys.executable, "-m", "hdm_pipeline", "run", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    out = tmp_path / "pacs"
    for _ in range(2400):
        if len(list(out.glob(".hdm/scenes/*/fetched/*.dcm"))) > 3:
            break
        time.sleep(0.05)
    process.kill()
    process.wait()
    kept = {p: p.stat().st_mtime_ns for p in out.glob(".hdm/scenes/*/fetched/*.dcm")}
    assert kept, "killed before anything was fetched, or after all was done"
    summary = Pipeline.from_yaml(path).run()
    assert len(summary.done) + summary.done_before == 4
    assert list(out.glob(".hdm/scenes/*/fetched")) == []


def test_wrong_credentials_end_the_run(
    secure: Archive, tmp_path: Path, kit_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_archive(tmp_path / "files", 1)
    secure.fill(tmp_path / "files")
    monkeypatch.setenv("PACS_PASSWORD", "hunter2")
    path = write_pipeline(tmp_path, kit_weights, "pacs", **web_input(secure))
    with pytest.raises(PeerRefusedError, match="password or token is wrong") as caught:
        Pipeline.from_yaml(path).run()
    assert "hunter2" not in str(caught.value)
    monkeypatch.setenv("PACS_PASSWORD", "secret")
    no_certificate = {"certificate_file": "", "key_file": ""}
    path = write_pipeline(tmp_path, kit_weights, "pacs", **web_input(secure, **no_certificate))
    with pytest.raises(PeerError):
        Pipeline.from_yaml(path).run()
    not_trusted = {**no_certificate, "ca_file": ""}
    path = write_pipeline(tmp_path, kit_weights, "pacs", **web_input(secure, **not_trusted))
    with pytest.raises(PeerRefusedError, match="not trusted"):
        Pipeline.from_yaml(path).run()
    assert "hunter2" not in "".join(p.read_text() for p in (tmp_path / "pacs").rglob("*.json*"))


def test_a_pacs_that_is_gone_after_the_listing_costs_scenes_not_the_run(
    require_judge: RequireJudge, tmp_path: Path
) -> None:
    write_archive(tmp_path / "files", 1)
    with running(require_judge("Orthanc", INSTALL), tmp_path / "orthanc") as archive:
        archive.fill(tmp_path / "files")
        reader, uri = reader_of(archive)
        (ref,) = (found for found in reader.discover(uri) if isinstance(found, SceneRef))
    (inbox := tmp_path / "inbox").mkdir()
    with pytest.raises(FetchError, match="refused"):
        reader.fetch(ref, inbox)
    with pytest.raises(PeerError):
        list(reader.discover(uri))


def dimse_input(port: int, **options: Any) -> dict[str, Any]:
    uri = f"dimse://JUDGE@127.0.0.1:{port}"
    return {"uri": uri, "network": True, "options": {"connection": {"plain": True}, **options}}


def compress(folder: Path) -> None:
    """Images of a folder in JPEG 2000, which neither judge decompresses."""
    for path in folder.iterdir():
        image = pydicom.dcmread(path)
        image.compress(JPEG2000Lossless)
        image.save_as(path)


@pytest.mark.parametrize("how", ["get", "move"])
@pytest.mark.parametrize("judge", ["orthanc", "dcmqrscp"])
def test_the_same_by_dimse(
    require_judge: RequireJudge, tmp_path: Path, kit_weights: Path, judge: str, how: str
) -> None:
    write_archive(tmp_path / "files", 2)
    files, port = tmp_path / "files", free_port()
    if judge == "orthanc":  # dcmqrscp takes one kind of compression only, and then nothing that has none
        compress(files / "1")
    folder = Pipeline.from_yaml(write_pipeline(tmp_path, kit_weights, "folder", uri="files")).run()
    with ExitStack() as stack:
        if judge == "orthanc":
            known = {"DicomModalities": {"hdm": ["HDM", "127.0.0.1", port]}}
            orthanc = running(require_judge("Orthanc", INSTALL), tmp_path / "judge", settings=known)
            archive = stack.enter_context(orthanc)
            archive.fill(files)
            asked = archive.dicom_port
        else:
            programs = [require_judge(name, "apt-get install dcmtk") for name in ("dcmqrscp", "storescu")]
            asked = stack.enter_context(dcmqrscp(programs[0], programs[1], tmp_path / "judge", files, port))
        options = {"retrieve": how, "move_port": port, "query": {"PatientID": "MARKERID"}}
        pipeline = Pipeline.from_yaml(write_pipeline(tmp_path, kit_weights, "pacs", **dimse_input(asked, **options)))
        summary = pipeline.run()
        assert summary.quarantined == {}
        again = pipeline.run()
    assert sorted(summary.done) == sorted(folder.done)
    expected, found = masks(tmp_path / "folder"), masks(tmp_path / "pacs")
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert (again.done, again.done_before) == ((), 2)
    assert leaks_of(tmp_path / "pacs") == []


def test_examples_come_from_the_pacs_by_uid(plain: Archive, tmp_path: Path, kit_weights: Path) -> None:
    """Somebody drew on two slices and stored a SEG in the PACS; image and mask are named by UID."""
    write_archive(tmp_path / "files", 1)
    by_files = write_pipeline(tmp_path, kit_weights, "folder", uri="support/series")
    drawn = Pipeline.from_yaml(by_files).run()
    seg = tmp_path / "folder" / drawn.done[0] / "segmentation.dcm"
    for folder in (tmp_path / "files", tmp_path / "support" / "series"):
        plain.fill(folder)
    plain.call("/instances", seg.read_bytes(), {"Content-Type": "application/dicom"})
    uri = web_input(plain)["uri"]
    path = write_pipeline(tmp_path, kit_weights, "pacs", **web_input(plain, "?StudyInstanceUID=" + uid("study 0")))
    content = yaml.safe_load(path.read_text())
    image = f"{uri}?SeriesInstanceUID={uid('support')}"
    mask = f"{uri}?SOPInstanceUID={pydicom.dcmread(seg).SOPInstanceUID}"
    examples = content["support"]["classes"][0]["examples"] = [{"image": image, "mask": mask, "slices": [1, 3]}]
    path.write_text(yaml.safe_dump(content))
    pipeline = Pipeline.from_yaml(path)
    assert pipeline.validate(data=True) == []
    summary = pipeline.run()
    assert len(summary.done) == 1
    examples[0] |= {"image": str(tmp_path / "support" / "series"), "mask": str(seg)}
    content["output"]["directory"] = "by-files"
    (other := tmp_path / "by-files.yaml").write_text(yaml.safe_dump(content))
    Pipeline.from_yaml(other).run()
    expected, found = masks(tmp_path / "by-files"), masks(tmp_path / "pacs")
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    again = pipeline.run()  # fetched anew or not, the examples hash alike
    assert (again.done, again.done_before) == ((), 1)
    remove_tree(tmp_path / "pacs" / ".hdm" / "examples")
    again = pipeline.run()
    assert (again.done, again.done_before) == ((), 1)
    assert pipeline.plan().scenes_done == 1
    # A report that refers to the segmentation names it as well; the mask is the same, so nothing is done again.
    report = tmp_path / "report.dcm"
    write_report(report, pydicom.dcmread(seg))
    plain.call("/instances", report.read_bytes(), {"Content-Type": "application/dicom"})
    examples[0] |= {"image": image, "mask": f"{uri}?SOPInstanceUID={pydicom.dcmread(report).SOPInstanceUID}"}
    content["output"]["directory"] = "pacs"
    path.write_text(yaml.safe_dump(content))
    again = Pipeline.from_yaml(path).run()
    assert (again.done, again.done_before) == ((), 1)
    examples[0]["mask"] = f"{uri}?SOPInstanceUID={uid('nothing')}"
    examples[0]["image"] = image
    content["output"]["directory"] = "pacs"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(SupportError, match="does not hold such an object"):
        Pipeline.from_yaml(path).run()


def write_report(path: Path, seg: Dataset) -> None:
    """The least of a structured report: a container that refers to a segmentation."""
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = seg.SOPClassUID, seg.SOPInstanceUID
    reference.ReferencedSegmentNumber = 1
    item, group = Dataset(), Dataset()
    item.RelationshipType, item.ValueType, item.ReferencedSOPSequence = "CONTAINS", "IMAGE", [reference]
    group.RelationshipType, group.ValueType, group.ContentSequence = "CONTAINS", "CONTAINER", [item]
    report = Dataset()
    report.file_meta = FileMetaDataset()
    report.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = Comprehensive3DSRStorage
    report.SOPInstanceUID = report.file_meta.MediaStorageSOPInstanceUID = uid("report")
    report.StudyInstanceUID, report.SeriesInstanceUID = seg.StudyInstanceUID, uid("reports")
    report.PatientID, report.Modality, report.ValueType, report.ContentSequence = (
        seg.PatientID,
        "SR",
        "CONTAINER",
        [group],
    )
    report.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize("executor", ["inline", pytest.param("ray", marks=pytest.mark.ray)])
def test_nothing_of_a_patient_is_told(plain: Archive, tmp_path: Path, kit_weights: Path, executor: str) -> None:
    """By the command line with its most talkative log; one series is broken, and one has a marked query."""
    write_archive(tmp_path / "files", 2)

    def empty(dataset: Dataset, index: int) -> None:
        marked("broken")(dataset, index)
        del dataset.PixelData

    write_series(tmp_path / "files" / "broken", series="broken", pixels=disc, change=empty)
    plain.fill(tmp_path / "files")
    good = write_pipeline(
        tmp_path, kit_weights, "pacs", **web_input(plain, "?PatientID=MARKERID&PatientName=MARKERNAME*")
    )
    wrong = web_input(plain, "?PatientID=MARKERID")
    wrong["uri"] = wrong["uri"].replace("dicom-web", "MARKERLESS")
    bad = write_pipeline(tmp_path, kit_weights, "bad", **wrong)
    gone = write_pipeline(tmp_path, kit_weights, "gone", **web_input(plain, "?PatientID=MARKERID&Modality=US"))
    told = b""
    for path, command, code in (
        (good, "validate", 0),
        (good, "plan", 0),
        (good, "run", 3),
        (good, "run", 3),
        (bad, "run", 1),
        (gone, "run", 0),
    ):
        more = ["--executor", executor] if command == "run" else []
        done = subprocess.run(
            [sys.executable, "-m", "hdm_pipeline", command, str(path), *more],
            capture_output=True,
            env={**os.environ, "HDM_LOG_LEVEL": "DEBUG"},
            timeout=300,
            check=False,
        )
        told += done.stdout + done.stderr
        assert done.returncode == code, told[-2000:].decode()
    assert [marker for marker in MARKERS if marker in told] == []
    for out in ("pacs", "bad", "gone"):
        assert leaks_of(tmp_path / out) == []
    statuses = sorted(scene["status"] for scene in scenes_of(tmp_path / "pacs").values())
    assert statuses == ["done", "done", "quarantined"]
