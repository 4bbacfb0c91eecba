"""`deidentify IN OUT`: which files, under which names, what is left of them, and what the report says."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)
from typer.testing import CliRunner

from hdm_dicom.privacy import folder
from hdm_dicom.privacy.deidentify import deidentify
from hdm_dicom.privacy.folder import REPORT, Deidentified, _alone, deidentify_folder
from hdm_dicom.segmentation.writer import SegmentationWriter
from hdm_dicom.structure_set.writer import StructureSetWriter
from hdm_pipeline.cli.main import app
from hdm_pipeline.errors import ConfigError, EmptyArchiveError, OutputError
from tests.dicom_product import make_product
from tests.dicom_series import make_slice, uid, write_series
from tests.unit.dicom.test_deidentify import KEY, stuffed

MARKER = "MARKER"
SECRETS = (b"MARKER", b"20200102", b"Test^Case", b"19700101", uid("study").encode(), uid("series").encode())


def marked(dataset: Dataset, _: int = 0) -> None:
    dataset.PatientComments = dataset.InstitutionName = dataset.StationName = MARKER
    dataset.PatientName, dataset.PatientID = f"{MARKER}^X", "MARKERID"
    dataset.add_new(0x00091001, "LO", MARKER)
    dataset.file_meta.SourceApplicationEntityTitle = MARKER
    dataset.preamble = MARKER.encode().ljust(128, b"\0")


def save(dataset: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def image(index: int = 0, change: Callable[[Dataset, int], None] = marked, bits: int = 16) -> Dataset:
    dataset = make_slice(index, np.random.default_rng(index).integers(0, 200, (40, 50)).astype(f"u{bits // 8}"))
    change(dataset, index)
    return dataset


def run(source: Path, out: Path, **options: object) -> Deidentified:
    return deidentify_folder(source, out, KEY, **options)  # type: ignore[arg-type]


def outputs(out: Path) -> list[Path]:
    return sorted(out.rglob("*.dcm"))


def report(out: Path) -> dict[str, dict[str, int]]:
    return json.loads((out / REPORT).read_text())


def contents(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


# -------------------------------------------------------------------------------- what it is for


def test_images_and_their_segmentation_still_refer_to_each_other(tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "Doe^John" / "series", change=marked)
    product = make_product(tmp_path / "in")
    (tmp_path / "key").write_bytes(KEY)
    SegmentationWriter({"deidentify": {"key_file": str(tmp_path / "key")}}).write(product, tmp_path / "seg.dcm")
    done = run(tmp_path / "in", tmp_path / "out")
    assert done.files == 5
    segmentation = pydicom.dcmread(tmp_path / "seg.dcm")
    images = {d.SOPInstanceUID: d for d in map(pydicom.dcmread, outputs(tmp_path / "out"))}
    referenced = {
        item.ReferencedSOPInstanceUID
        for series in segmentation.ReferencedSeriesSequence
        for item in series.ReferencedInstanceSequence
    }
    assert referenced == set(images)
    for each in images.values():
        for name in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName"):
            assert each[name].value == segmentation[name].value
    # As a whole: the masks can be read with the images as examples, by their UIDs.
    again = make_product(tmp_path / "out")
    assert again.scene.shape == product.scene.shape


@pytest.mark.parametrize("writer", [SegmentationWriter, StructureSetWriter])
def test_a_product_that_is_de_identified_later_is_the_same_object(tmp_path: Path, writer: type) -> None:
    write_series(tmp_path / "in", change=marked)
    product = make_product(tmp_path / "in")
    (tmp_path / "key").write_bytes(KEY)
    writer({"deidentify": {"key_file": str(tmp_path / "key")}}).write(product, tmp_path / "now.dcm")
    writer().write(product, tmp_path / "in" / "plain.dcm")
    run(tmp_path / "in" / "plain.dcm", tmp_path / "out")
    (later,) = outputs(tmp_path / "out")
    assert pydicom.dcmread(later) == pydicom.dcmread(tmp_path / "now.dcm")


def test_names_of_structures_stay_only_where_the_pipeline_gave_them(tmp_path: Path) -> None:
    write_series(tmp_path / "in", change=marked)
    StructureSetWriter().write(make_product(tmp_path / "in"), tmp_path / "ours.dcm")
    names = []
    for change in ({}, {"Manufacturer": "Somebody"}, {"AlgorithmSource": "somebody"}):
        structures = pydicom.dcmread(tmp_path / "ours.dcm")
        for keyword, value in change.items():
            item = structures.StructureSetROISequence[1].ROIDerivationAlgorithmIdentificationSequence[0]
            setattr(structures if keyword in structures else item, keyword, value)
        deidentify(structures, KEY)
        names.append([roi.ROIName for roi in structures.StructureSetROISequence])
    assert names == [["liver", "spleen"], ["", ""], ["", ""]]


def test_nothing_of_the_source_is_left_in_equipment_that_contributed(tmp_path: Path) -> None:
    def scanner(dataset: Dataset, _: int) -> None:
        dataset.ManufacturerModelName, dataset.SoftwareVersions = "SCANNERMODEL", "SCANNERSOFTWARE"

    write_series(tmp_path / "in", change=scanner)
    (tmp_path / "key").write_bytes(KEY)
    writer = SegmentationWriter({"deidentify": {"key_file": str(tmp_path / "key")}})
    product = make_product(tmp_path / "in")
    SegmentationWriter().write(product, tmp_path / "plain.dcm")
    assert b"SCANNERMODEL" in (tmp_path / "plain.dcm").read_bytes()
    writer.write(product, tmp_path / "seg.dcm")
    content = (tmp_path / "seg.dcm").read_bytes()
    assert b"SCANNERMODEL" not in content
    assert b"SCANNERSOFTWARE" not in content
    assert "ContributingEquipmentSequence" not in pydicom.dcmread(tmp_path / "seg.dcm")


def test_no_marker_is_left_in_any_kind_of_file_or_in_any_name(tmp_path: Path) -> None:
    jane = tmp_path / "in" / "MARKER^Jane"
    write_series(jane / "ct", change=marked)
    full = stuffed()
    for tag in [tag for tag in full.keys() if tag.group == 0]:  # noqa: SIM118 - of messages, not of files
        del full[tag]
    save(full, jane / "stuffed")
    save(sr(), jane / "report")
    save(structures(), jane / "structures")
    (jane / "MARKER.txt").write_text(MARKER)
    done = run(tmp_path / "in", tmp_path / "out")
    assert done.files == 8
    for name, content in contents(tmp_path / "out").items():
        assert MARKER not in name
        assert not [secret for secret in SECRETS if secret in content], name


def meaning(value: str, text: str) -> CodedConcept:
    return CodedConcept(value, "DCM", text)


def sr() -> Dataset:
    """A report with texts, names, dates, a number and a reference to an image."""
    dataset = image()
    for name in ("PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        del dataset[name]
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.34"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid("report")
    dataset.Modality = "SR"

    def item(kind: str, concept: str, **values: object) -> Dataset:
        made = Dataset()
        made.RelationshipType, made.ValueType = "CONTAINS", kind
        made.ConceptNameCodeSequence = [meaning(concept, "a concept")]
        for name, value in values.items():
            setattr(made, name, value)
        return made

    measured, reference, group = Dataset(), Dataset(), item("CONTAINER", "125007")
    measured.NumericValue, reference.ReferencedSOPClassUID = "12.5", dataset.SOPClassUID
    reference.ReferencedSOPInstanceUID = uid("series", 0)
    group.ContentSequence = [
        item("TEXT", "112039", TextValue="liver MARKER"),
        item("UIDREF", "112040", UID=uid("tracking")),
        item("NUM", "121207", MeasuredValueSequence=[measured]),
        item("IMAGE", "121112", ReferencedSOPSequence=[reference]),
    ]
    dataset.ContentSequence = [
        item("TEXT", "121071", TextValue="MARKER has a lesion"),
        item("PNAME", "121008", PersonName="MARKER^Doctor"),
        item("DATE", "121012", Date="20200102"),
        group,
    ]
    return dataset


def structures() -> Dataset:
    dataset = image()
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid("structures")
    del dataset.PixelData
    roi, contour, drawn, reference = Dataset(), Dataset(), Dataset(), Dataset()
    roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = 1, MARKER, dataset.FrameOfReferenceUID
    reference.ReferencedSOPInstanceUID = uid("series", 0)
    drawn.ContourData, drawn.ContourImageSequence = [1, 2, 3], [reference]
    contour.ContourSequence = [drawn]
    dataset.StructureSetLabel, dataset.StructureSetROISequence, dataset.ROIContourSequence = MARKER, [roi], [contour]
    return dataset


def test_a_report_keeps_its_numbers_codes_and_references(tmp_path: Path) -> None:
    save(sr(), tmp_path / "in" / "report")
    save(structures(), tmp_path / "in" / "structures")
    save(image(), tmp_path / "in" / "image")
    run(tmp_path / "in", tmp_path / "out")
    found = {d.SOPClassUID.name: d for d in map(pydicom.dcmread, outputs(tmp_path / "out"))}
    content = found["Comprehensive 3D SR Storage"].ContentSequence
    new = found["CT Image Storage"].SOPInstanceUID
    group = content[3].ContentSequence
    assert group[2].MeasuredValueSequence[0].NumericValue == 12.5
    assert group[2].ConceptNameCodeSequence[0].CodeValue == "121207"
    assert group[3].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == new
    assert content[0].TextValue.startswith("ANON-")
    drawn = found["RT Structure Set Storage"].ROIContourSequence[0].ContourSequence[0]
    assert drawn.ContourImageSequence[0].ReferencedSOPInstanceUID == new
    assert list(drawn.ContourData) == [1, 2, 3]


# -------------------------------------------------------------------------------- pixels


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless,
     JPEG2000Lossless, "no meta header"],
)  # fmt: skip
def test_pixels_are_what_they_were(tmp_path: Path, syntax: str) -> None:
    dataset = image()
    expected = dataset.pixel_array.copy()
    path = tmp_path / "in" / "image"
    path.parent.mkdir()
    if syntax in (RLELossless, JPEG2000Lossless):
        dataset.compress(syntax)
    elif syntax == ExplicitVRBigEndian:
        dataset.PixelData = expected.astype(">u2").tobytes()
        dataset.file_meta.TransferSyntaxUID = syntax
    elif syntax != "no meta header":
        dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        pydicom.dcmwrite(path, dataset, implicit_vr=False, little_endian=False, enforce_file_format=True)
    else:
        save(dataset, path)
    if syntax == "no meta header":
        meta = path.read_bytes()
        path.write_bytes(meta[meta.index(b"\x08\x00\x05\x00") :])
    assert run(tmp_path / "in", tmp_path / "out").files == 1
    (made,) = outputs(tmp_path / "out")
    again = pydicom.dcmread(made)
    assert np.array_equal(again.pixel_array, expected)
    assert again.file_meta.TransferSyntaxUID == (ExplicitVRLittleEndian if syntax == "no meta header" else syntax)
    assert set(again.file_meta.keys()) <= {0x00020000 | e for e in (0, 1, 2, 3, 0x10, 0x12, 0x13)}
    assert again.file_meta.MediaStorageSOPInstanceUID == again.SOPInstanceUID


def test_pixels_are_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hdm_dicom.privacy.copying._PIECE", 64)
    dataset = image()
    save(dataset, tmp_path / "in" / "image")
    run(tmp_path / "in", tmp_path / "out")
    assert pydicom.dcmread(outputs(tmp_path / "out")[0]).PixelData == dataset.PixelData


def test_overlays_go_from_the_header_and_from_unused_bits(tmp_path: Path) -> None:
    dataset = image()
    stored = dataset.pixel_array.copy()
    dataset.BitsStored, dataset.HighBit = 12, 11
    dataset.PixelData = (stored | (1 << 12)).tobytes()
    dataset.add_new(0x60000100, "US", 16)
    dataset.add_new(0x60000102, "US", 12)
    dataset.add_new(0x60000022, "LO", MARKER)
    save(dataset, tmp_path / "in" / "image")
    run(tmp_path / "in", tmp_path / "out")
    made = pydicom.dcmread(outputs(tmp_path / "out")[0])
    assert np.array_equal(np.frombuffer(made.PixelData, "<u2").reshape(stored.shape), stored)
    assert not [tag for tag in made.keys() if tag.group == 0x6000]  # noqa: SIM118
    assert report(tmp_path / "out")["actions"]["removed"]["overlay"] == 3  # type: ignore[index]


@pytest.mark.parametrize("compressed", [False, True])
def test_truncated_pixels_are_left_out(tmp_path: Path, compressed: bool) -> None:
    dataset = image()
    if compressed:
        dataset.compress(RLELossless)
    path = save(dataset, tmp_path / "in" / "image")
    path.write_bytes(path.read_bytes()[:-100])
    done = run(tmp_path / "in", tmp_path / "out")
    assert (done.files, done.refused) == (0, 1)
    assert list(contents(tmp_path / "out")) == [".lock", REPORT], "no part of it stays"


# -------------------------------------------------------------------------------- what is left out


def capture(dataset: Dataset, _: int = 0) -> None:
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"


def burned(dataset: Dataset, _: int = 0) -> None:
    dataset.BurnedInAnnotation = "YES"


def screenshot(dataset: Dataset, _: int = 0) -> None:
    dataset.ImageType = ["DERIVED", "SECONDARY", "SCREEN SAVE"]


def document(dataset: Dataset, _: int = 0) -> None:
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.104.1"


def private(dataset: Dataset, _: int = 0) -> None:
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.3.12.2.1107.5.9.1"


@pytest.mark.parametrize(
    ("change", "reason", "kept"),
    [
        (burned, "burned-in annotation", True),
        (capture, "secondary captures", True),
        (screenshot, "screenshots", True),
        (document, "encapsulated documents", False),
        (private, "private SOP class", False),
    ],
)
def test_what_may_show_a_name_is_left_out(
    tmp_path: Path, change: Callable[[Dataset, int], None], reason: str, kept: bool
) -> None:
    save(image(change=change), tmp_path / "in" / MARKER)
    done = run(tmp_path / "in", tmp_path / "out")
    assert done.files == 0
    assert done.refused == 1
    assert reason in next(iter(done.left_out))
    assert MARKER not in (tmp_path / "out" / REPORT).read_text()
    assert run(tmp_path / "in", tmp_path / "out2", keep_burned_in=True).files == int(kept)


def test_a_capture_that_says_that_it_shows_no_name_is_taken(tmp_path: Path) -> None:
    dataset = image(change=capture)
    dataset.BurnedInAnnotation = "NO"
    save(dataset, tmp_path / "in" / "a")
    assert run(tmp_path / "in", tmp_path / "out").files == 1


def test_an_ultrasound_is_taken_with_a_warning(tmp_path: Path) -> None:
    dataset = image()
    dataset.Modality = "US"
    save(dataset, tmp_path / "in" / "a")
    done = run(tmp_path / "in", tmp_path / "out")
    assert done.files == 1
    assert done.warnings == {"images that may show a name: look at them": 1}


def test_what_is_no_dicom_is_counted(tmp_path: Path) -> None:
    save(image(), tmp_path / "in" / "deep" / "er" / "a")
    (tmp_path / "in" / "notes.txt").write_text(MARKER)
    os.mkfifo(tmp_path / "in" / "pipe")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    directory = Dataset()
    directory.file_meta = pydicom.dataset.FileMetaDataset()
    directory.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    directory.file_meta.MediaStorageSOPInstanceUID = uid("directory")
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory.FileSetID = MARKER
    save(directory, tmp_path / "in" / "DICOMDIR")
    done = run(tmp_path / "in", tmp_path / "out")
    assert done.files == 1
    assert done.left_out == {"files that are not DICOM": 2, "DICOMDIR files": 1, "links to folders": 1}
    assert done.refused == 0
    assert report(tmp_path / "out")["left_out"] == done.left_out


# -------------------------------------------------------------------------------- again and again


def test_a_second_run_writes_nothing_again(tmp_path: Path) -> None:
    write_series(tmp_path / "in", change=marked)
    run(tmp_path / "in", tmp_path / "out")
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in outputs(tmp_path / "out")}
    first = contents(tmp_path / "out")
    done = run(tmp_path / "in", tmp_path / "out")
    assert (done.files, done.before) == (5, 5)
    assert before == {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in outputs(tmp_path / "out")}
    assert contents(tmp_path / "out") == first
    run(tmp_path / "in", tmp_path / "elsewhere")
    assert contents(tmp_path / "elsewhere") == first, "the same bytes, wherever"


def test_a_run_that_was_killed_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path / "in", change=marked)
    run(tmp_path / "in", tmp_path / "whole")
    calls = []

    def dies(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    real = folder.pixel_pieces
    monkeypatch.setattr(folder, "pixel_pieces", dies)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "in", tmp_path / "out")
    monkeypatch.setattr(folder, "pixel_pieces", real)
    assert run(tmp_path / "in", tmp_path / "out").before == 2
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_file_that_changed_is_done_again(tmp_path: Path) -> None:
    dataset = image()
    path = save(dataset, tmp_path / "in" / "a")
    run(tmp_path / "in", tmp_path / "out")
    dataset.PixelData = bytes(len(dataset.PixelData))
    save(dataset, path)
    assert run(tmp_path / "in", tmp_path / "out").before == 0
    assert not any(pydicom.dcmread(outputs(tmp_path / "out")[0]).PixelData)


def test_a_copy_counts_once_and_another_image_of_its_uid_is_not_lost(tmp_path: Path) -> None:
    dataset = image()
    path = save(dataset, tmp_path / "in" / "a")
    shutil.copy(path, tmp_path / "in" / "b")
    dataset.PixelData = bytes(len(dataset.PixelData))
    save(dataset, tmp_path / "in" / "c")
    for _ in range(2):
        done = run(tmp_path / "in", tmp_path / "out")
        assert (done.files, done.copies) == (2, 1)
        assert done.warnings == {"files that share a SOP instance UID with another one": 1}
        assert len(outputs(tmp_path / "out")) == 2


@pytest.mark.parametrize("out", ["in", "in/out", "."])
def test_one_folder_in_the_other_is_refused(tmp_path: Path, out: str) -> None:
    save(image(), tmp_path / "in" / "a")
    with pytest.raises(ConfigError, match="lies in the other"):
        run(tmp_path / "in", tmp_path / out)


def test_no_input(tmp_path: Path) -> None:
    with pytest.raises(EmptyArchiveError):
        run(tmp_path / "in", tmp_path / "out")


def test_nothing_but_other_files(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(EmptyArchiveError, match="no DICOM file"):
        run(tmp_path / "in", tmp_path / "out")
    (tmp_path / "in" / "labels.nii.gz").write_bytes(b"not of DICOM")
    (tmp_path / "key").write_bytes(KEY)
    arguments = ["deidentify", str(tmp_path / "in"), str(tmp_path / "out"), "--key-file", str(tmp_path / "key")]
    assert isinstance(CliRunner().invoke(app, arguments).exception, EmptyArchiveError)  # exit code 2
    assert not (tmp_path / "out" / "deidentification.json").exists()


@pytest.mark.parametrize("lost", [".lock", "deidentification.json"])
def test_a_folder_has_one_key(tmp_path: Path, lost: str) -> None:
    save(image(), tmp_path / "in" / "a")
    run(tmp_path / "in", tmp_path / "out")
    (tmp_path / "out" / lost).unlink()  # of an earlier version; of a run that was killed
    before = outputs(tmp_path / "out")
    with pytest.raises(ConfigError, match="another key"):
        deidentify_folder(tmp_path / "in", tmp_path / "out", KEY + b"of another")
    assert outputs(tmp_path / "out") == before
    assert run(tmp_path / "in", tmp_path / "out").before == 1
    with pytest.raises(ConfigError, match="another key"):
        deidentify_folder(tmp_path / "in", tmp_path / "out", KEY + b"of another")


def test_two_at_once_are_refused(tmp_path: Path) -> None:

    save(image(), tmp_path / "in" / "a")
    (tmp_path / "out").mkdir()
    with _alone(tmp_path / "out"), pytest.raises(OutputError, match="another de-identification"):
        run(tmp_path / "in", tmp_path / "out")


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    save(image(), tmp_path / "in" / "a")
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="cannot be written"):
        run(tmp_path / "in", tmp_path / "out")


# -------------------------------------------------------------------------------- the command itself


def test_the_command(tmp_path: Path) -> None:
    save(image(), tmp_path / "in" / MARKER / "a")
    save(image(1, burned), tmp_path / "in" / MARKER / "b")
    (tmp_path / "key").write_bytes(KEY)
    arguments = ["deidentify", str(tmp_path / "in"), str(tmp_path / "out"), "--key-file", str(tmp_path / "key")]
    done = CliRunner().invoke(app, [*arguments, "--left-out", str(tmp_path / "left.tsv")])
    assert done.exit_code == 3
    assert "1 files de-identified" in done.output
    assert MARKER not in done.output.replace(str(tmp_path), "")
    path, reason = (tmp_path / "left.tsv").read_text().split("\t")
    assert path.endswith("MARKER/b")
    assert "burned-in" in reason
    assert CliRunner().invoke(app, [*arguments, "--burned-in", "keep"]).exit_code == 0
    assert isinstance(CliRunner().invoke(app, [*arguments, "--burned-in", "maybe"]).exception, ConfigError)
    (tmp_path / "key").write_text("short")
    assert isinstance(CliRunner().invoke(app, arguments).exception, ConfigError)


def test_the_report_counts_actions_by_attribute(tmp_path: Path) -> None:
    write_series(tmp_path / "in", change=marked)
    run(tmp_path / "in", tmp_path / "out")
    actions = report(tmp_path / "out")["actions"]
    assert actions["hashed"]["SOPInstanceUID"] == 5  # type: ignore[index]
    assert actions["removed"]["private"] == 5  # type: ignore[index]
    assert actions["removed"]["PatientComments"] == 5  # type: ignore[index]
    assert report(tmp_path / "out")["storage_classes"] == {"CT Image Storage": 5}
