"""`deidentify IN OUT`: which files, under which names, again and after a crash, and what the report says."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
)
from typer.testing import CliRunner

from hdm_dicom.privacy import folder
from hdm_dicom.privacy.folder import REPORT, _alone, deidentify_folder
from hdm_pipeline.cli.main import app
from hdm_pipeline.errors import ConfigError, EmptyArchiveError, OutputError
from tests.deidentified import MARKER, burned, contents, image, marked, outputs, report, run, save
from tests.dicom_series import uid, write_series
from tests.unit.dicom.test_deidentify import KEY


def test_what_is_no_dicom_is_counted(tmp_path: Path) -> None:
    save(image(), tmp_path / "in" / "deep" / "er" / "a")
    (tmp_path / "in" / "notes.txt").write_text(MARKER)
    os.mkfifo(tmp_path / "in" / "pipe")
    (tmp_path / "in" / "deep" / "back").symlink_to(tmp_path / "in")
    directory = Dataset()
    directory.file_meta = pydicom.dataset.FileMetaDataset()
    directory.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    directory.file_meta.MediaStorageSOPInstanceUID = uid("directory")
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory.FileSetID = MARKER
    save(directory, tmp_path / "in" / "DICOMDIR")
    done = run(tmp_path / "in", tmp_path / "out")
    assert done.files == 1
    assert done.left_out == {"files that are not DICOM": 2, "DICOMDIR files": 1, "links to folders that they lie in": 1}
    assert done.refused == 0
    assert report(tmp_path / "out")["left_out"] == done.left_out


def test_what_a_run_would_read_through_links_and_from_zip_archives_is_not_missing(tmp_path: Path) -> None:
    """As a run lists them: 2 images in the folder, 2 behind a link, 2 zipped (native, deflated); and a hidden one."""
    write_series(tmp_path / "in" / "a", (0.0, 2.0), change=marked)
    write_series(tmp_path / "elsewhere", (4.0, 6.0), series="linked", change=marked)
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "again").symlink_to(tmp_path / "elsewhere")
    save(image(9), tmp_path / "in" / ".hidden")
    save(image(7), tmp_path / "zipped" / "plain")
    other = image(8)
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = uid("deflated")
    other.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    save(other, tmp_path / "zipped" / "deflated")
    with zipfile.ZipFile(tmp_path / "in" / "study.zip", "w") as archive:
        for path in (tmp_path / "zipped").iterdir():
            archive.write(path, f"{MARKER}/{path.name}")
    (tmp_path / "in" / "out").symlink_to(tmp_path / "out")
    for again in (0, 7):
        done = run(tmp_path / "in", tmp_path / "out")
        assert (done.files, done.before, done.refused, done.copies) == (7, again, 0, 0)
    assert len(outputs(tmp_path / "out")) == 7
    for path in outputs(tmp_path / "out"):
        assert MARKER.encode() not in path.read_bytes()
        assert pydicom.dcmread(path).pixel_array.size


def test_archives_that_cannot_be_read_are_refused_and_named(tmp_path: Path) -> None:
    save(image(), tmp_path / "in" / "a")
    (tmp_path / "in" / f"{MARKER}.zip").write_bytes(b"PK no archive")
    (tmp_path / "in" / f"{MARKER}.tar.gz").write_bytes(b"")
    done = run(tmp_path / "in", tmp_path / "out")
    assert (done.files, done.refused) == (1, 2)
    assert sorted(done.left_out) == [
        "archives that are not read in place: unpack them",
        "zip archives that cannot be read",
    ]
    assert MARKER not in (tmp_path / "out" / REPORT).read_text()


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
    assert "1 file de-identified" in done.output
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
