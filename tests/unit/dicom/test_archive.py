"""What is found behind an address: links, zip archives, localizers, and the choice of series."""

from __future__ import annotations

import json
import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from hdm_dicom.archive.discovery import find
from hdm_dicom.archive.listing import file_name, list_files, listed
from hdm_dicom.archive.references import reference, reload
from hdm_dicom.files import zipped
from hdm_dicom.options import ReaderOptions
from hdm_dicom.reader import DicomReader
from hdm_dicom.selection import Selection
from hdm_pipeline.contracts import SceneRef, Skipped
from hdm_pipeline.errors import ConfigError, ReadError, UnsupportedSceneError
from hdm_pipeline.grid import Window
from tests.dicom_multiframe import write_enhanced
from tests.dicom_series import write_series


def discovered(uri: Path | str, **options: object) -> tuple[list[SceneRef], dict[str, str]]:
    refs, skipped = [], {}
    for found in DicomReader(options).discover(str(uri)):
        if isinstance(found, Skipped):
            skipped[found.uri] = found.reason
        else:
            refs.append(found)
    return refs, skipped


def test_links_are_followed_and_each_file_counts_once(tmp_path: Path) -> None:
    real = tmp_path / "elsewhere"
    write_series(real / "a")
    write_series(tmp_path / "in" / "b", series="other")
    archive = tmp_path / "in"
    (archive / "linked").symlink_to(real)
    (archive / "again").symlink_to(real / "a")
    (archive / "b" / "0-file").symlink_to(next((archive / "b").iterdir()))
    (archive / "b" / "to-a").symlink_to(real / "a" / next((real / "a").iterdir()).name)
    paths, skipped = listed(str(archive))
    assert len(paths) == len({os.path.realpath(path) for path in paths}) == 10
    assert skipped == []
    refs, told = discovered(archive)
    assert [len(ref.members) for ref in refs] == [5, 5]
    assert told == {}


def test_links_that_lead_in_a_circle_are_named(tmp_path: Path) -> None:
    archive = tmp_path / "in"
    write_series(archive / "a" / "deep")
    write_series(tmp_path / "beside", series="other")
    for name, target in (("up", archive / "a"), ("root", tmp_path), ("self", archive / "a" / "deep" / "self")):
        (archive / "a" / "deep" / name).symlink_to(target)
    (archive / "nowhere").symlink_to(tmp_path / "gone")
    refs, skipped = discovered(archive)
    assert [len(ref.members) for ref in refs] == [5]
    assert (
        sorted(skipped.values())
        == ["a link that leads nowhere"] * 2 + ["a link to a folder that it lies in: it would lead in a circle"] * 2
    )
    assert file_name(str(archive / "nowhere")) in skipped


def test_two_folders_that_link_to_each_other_end(tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "a")
    other = tmp_path / "other"
    write_series(other, series="other")
    (tmp_path / "in" / "a" / "other").symlink_to(other)
    (other / "back").symlink_to(tmp_path / "in")
    assert len(list_files(str(tmp_path / "in"))) == 10


def test_products_behind_a_link_are_no_input(tmp_path: Path) -> None:
    write_series(tmp_path / "in")
    write_series(tmp_path / "out", series="other")
    (tmp_path / "out" / ".hdm").mkdir()
    (tmp_path / "in" / "results").symlink_to(tmp_path / "out")
    assert len(list_files(str(tmp_path / "in"))) == 5


def zipped_series(folder: Path, target: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
    assert folder not in target.parents  # it would take itself in
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", method) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder))
    return target


def pixels(ref: SceneRef) -> np.ndarray:
    with DicomReader().open(ref) as source:
        _, z, y, x = source.header.shape
        return np.stack([source.read(Window(z=i, y=0, x=0, height=y, width=x), [0])[0][0] for i in range(z)])


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_of_a_study_is_read_in_place(tmp_path: Path, method: int) -> None:
    write_series(tmp_path / "study" / "ct")
    write_enhanced(tmp_path / "study" / "mr" / "file", [0, 2, 4], series="mr")
    study = zipped_series(tmp_path / "study", tmp_path / "in" / "study.ZIP", method)
    plain, _ = discovered(tmp_path / "study")
    before = set(tmp_path.rglob("*"))
    for uri in (study, study.parent, f"{study.parent}/*.ZIP"):
        refs, skipped = discovered(uri)
        assert skipped == {}
        assert [ref.id for ref in refs] == [ref.id for ref in plain]
        for ref, other in zip(refs, plain, strict=True):
            assert np.array_equal(pixels(ref), pixels(other))
    assert set(tmp_path.rglob("*")) == before


def test_a_zip_that_changed_is_noticed(tmp_path: Path) -> None:
    write_series(tmp_path / "study")
    study = zipped_series(tmp_path / "study", tmp_path / "study.zip")
    (ref,), _ = discovered(study)
    write_series(tmp_path / "study", pixels=lambda index: np.full((24, 32), index, np.uint16))
    zipped_series(tmp_path / "study", study)
    with pytest.raises(ReadError, match="changed"):
        DicomReader().header(ref)


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "in")
    bomb = tmp_path / "in" / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"\0" * 1_000_000)
        # Its table of contents claims more than so few bytes can hold.
        archive.filelist[0].file_size = 5_000_000_000
        archive._didModify = True  # type: ignore[attr-defined]
    refs, skipped = discovered(tmp_path / "in")
    assert len(refs) == 1
    assert skipped == {file_name(str(bomb)): "a zip archive that claims to hold more than its size allows (a zip bomb)"}


def test_what_is_too_large_within_a_zip_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path / "study")
    study = zipped_series(tmp_path / "study", tmp_path / "study.zip")
    monkeypatch.setattr(zipped, "MAX_MEMBER", 1000)
    refs, skipped = discovered(study)
    assert refs == []
    assert set(skipped.values()) == {"more than 0 MiB within a zip archive: unpack it"}


def test_what_is_encrypted_within_a_zip_is_left_out(tmp_path: Path) -> None:
    write_series(tmp_path / "study")
    study = zipped_series(tmp_path / "study", tmp_path / "study.zip")
    content = bytearray(study.read_bytes())
    with zipfile.ZipFile(study) as archive:
        entries = archive.start_dir
    at = content.index(b"PK\1\2", entries)
    content[at + 8] |= 1  # the first entry of the table of contents says that it is encrypted
    study.write_bytes(content)
    (ref,), skipped = discovered(study)
    assert len(ref.members) == 4
    assert list(skipped.values()) == ["encrypted within a zip archive: unpack it with its password"]


def test_a_damaged_zip_is_named_and_hides_nothing(tmp_path: Path) -> None:
    write_series(tmp_path / "in")
    (tmp_path / "in" / "bad.zip").write_bytes(b"PK\3\4 and no more")
    write_series(tmp_path / "study", series="other", shape=(200, 200))
    study = zipped_series(tmp_path / "study", tmp_path / "in" / "study.zip", zipfile.ZIP_STORED)
    content = bytearray(study.read_bytes())
    with zipfile.ZipFile(study) as archive:
        second = archive.infolist()[1]
    content[second.header_offset + 700 + second.file_size // 2] ^= 0xFF  # in its pixels: the checksum fails
    study.write_bytes(content)
    refs, skipped = discovered(tmp_path / "in")
    assert "a zip archive that cannot be read (BadZipFile)" in skipped.values()
    assert [len(ref.members) for ref in refs] == [5, 5]
    (damaged,) = [ref for ref in refs if any(".zip" in member for member in ref.members)]
    with pytest.raises(ReadError, match="cannot be decoded"):
        pixels(damaged)


def test_lists_name_what_is_not_there_and_may_name_each_other(tmp_path: Path) -> None:
    write_series(tmp_path / "a")
    zipped_series(tmp_path / "a", tmp_path / "b.zip")
    (tmp_path / "one.txt").write_text("two.txt\na\ngone/MARKER\n")
    (tmp_path / "two.txt").write_text("one.txt\nb.zip\n")
    refs, skipped = discovered(tmp_path / "one.txt")
    assert len(refs) == 1
    assert "5 copies of images" in json.loads(refs[0].recipe)["notes"][0]
    assert list(skipped.values()) == ["named in a list, and nothing is there"]
    assert "MARKER" not in str(skipped)


def test_what_a_mac_hides_in_a_zip_is_not_looked_at(tmp_path: Path) -> None:
    (path, *_) = write_series(tmp_path / "study")
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        archive.write(path, "a/1.dcm")
        archive.writestr("__MACOSX/a/._1.dcm", "resource")
    assert discovered(tmp_path / "study.zip")[1] == {}


def test_other_archives_are_named(tmp_path: Path) -> None:
    write_series(tmp_path / "in")
    (tmp_path / "in" / "study.tar.gz").write_bytes(b"\x1f\x8b")
    _, skipped = discovered(tmp_path / "in")
    assert list(skipped.values()) == ["an archive that is not read in place: unpack it, or make a zip archive of it"]


def test_a_name_within_a_zip_leads_nowhere(tmp_path: Path) -> None:
    (path, *_) = write_series(tmp_path / "study")
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        archive.write(path, "../../../etc/evil")
        archive.write(path, "/absolute")
    refs, _ = discovered(tmp_path / "study.zip")
    assert len(refs) == 1
    assert pixels(refs[0]).shape == (1, 24, 32)
    assert not (tmp_path.parent / "evil").exists()


@pytest.mark.parametrize("uri", ["https://pacs.example/study?PatientID=Secret", "s3://bucket/a", "dicom://a:11112"])
def test_addresses_are_refused(uri: str) -> None:
    for call in (DicomReader().check_input, lambda u: list(DicomReader().discover(u))):
        with pytest.raises(ConfigError, match="does not take addresses of") as error:
            call(uri)
        assert "Secret" not in str(error.value)
        assert error.value.remedy


def test_a_reference_brings_back_the_same_volume(tmp_path: Path) -> None:
    def stacks(item: Dataset, index: int) -> None:
        item.FrameContentSequence[0].StackID = str(index % 3 % 2)

    write_enhanced(tmp_path / "a", [2.0 * i for i in range(12)], change=stacks)
    found, _ = find(str(tmp_path), ReaderOptions())
    assert len(found) == 2
    for volume in found:
        ref = reference(volume)
        assert set(json.loads(ref.recipe)) == {"notes", "shared", "frames"}
        again = reload(ref)
        assert again is not None
        assert [frame.index for frame in again.frames] == [frame.index for frame in volume.frames]
        assert (again.id, again.notes) == (volume.id, volume.notes)
        assert reference(again) == ref


def described(series: str, **attributes: object) -> object:
    def change(dataset: Dataset, index: int) -> None:
        for name, value in attributes.items():
            setattr(dataset, name, value)

    return change


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    series = {
        "thin": {"SeriesDescription": "Abdomen 1mm B30f", "BodyPartExamined": "ABDOMEN", "ProtocolName": "Liver"},
        "thick": {"SeriesDescription": "ABDOMEN 5mm", "BodyPartExamined": "ABDOMEN", "ProtocolName": "Liver"},
        "brain": {"SeriesDescription": "Head routine", "BodyPartExamined": "HEAD", "Modality": "MR"},
        "bare": {},
    }
    for name, attributes in series.items():
        count = 9 if name == "thin" else 5
        write_series(
            tmp_path / "in" / name,
            [2.0 * i for i in range(count)],
            series=name,
            change=described(name, **attributes),  # type: ignore[arg-type]
        )
    return tmp_path / "in"


def names(refs: list[SceneRef]) -> set[str]:
    return {Path(ref.members[0]).parent.name for ref in refs}


@pytest.mark.parametrize(
    ("select", "taken", "reason"),
    [
        ({"modality": "mr"}, {"brain"}, "input.select: modality CT is not asked for"),
        (
            {"series_description": "abdomen*"},
            {"thin", "thick"},
            "input.select: its series_description is not asked for",
        ),
        ({"series_description": ["*1MM*", "head*"]}, {"thin", "brain"}, "input.select: its series_description is"),
        ({"body_part": "abdomen", "min_slices": 6}, {"thin"}, "input.select: 5 slices, min_slices is 6"),
        ({"max_slices": 5}, {"thick", "brain", "bare"}, "input.select: 9 slices, max_slices is 5"),
        ({"protocol": ""}, {"brain", "bare"}, "input.select: its protocol is not asked for"),
        ({"exclude": {"protocol": "l?ver"}}, {"brain", "bare"}, "input.select: its protocol is excluded"),
        ({"image_type": "original/*", "exclude": {"modality": ["MR", "US"]}}, {"thin", "thick", "bare"}, "modality MR"),
    ],
)
def test_series_are_chosen(archive: Path, select: dict[str, object], taken: set[str], reason: str) -> None:
    refs, skipped = discovered(archive, select=select)
    assert names(refs) == taken
    assert len(skipped) == 4 - len(taken)
    assert any(reason in told for told in skipped.values())


def test_reasons_hold_no_text_of_the_series(archive: Path) -> None:
    def marked(dataset: Dataset, index: int) -> None:
        dataset.SeriesDescription = dataset.ProtocolName = dataset.BodyPartExamined = "SECRETNAME"
        dataset.Modality = "SECRET^NAME"

    write_series(archive / "marked", series="marked", change=marked)
    for key in ("modality", "series_description", "protocol", "body_part"):
        _, skipped = discovered(archive, select={"exclude": {key: "secret*"}})
        assert len(skipped) == 1
        assert "SECRET" not in str(skipped)


@pytest.mark.parametrize(
    ("select", "what"),
    [
        ({"modalities": "CT"}, "no key 'modalities'"),
        ({"exclude": {"min_slices": 3}}, "no key 'min_slices'"),
        ({"modality": 3}, "a glob"),
        ({"modality": []}, "a glob"),
        ({"min_slices": 0}, "at least 1"),
        ({"min_slices": True}, "at least 1"),
        ({"min_slices": 5, "max_slices": 4}, "nothing can match"),
        ("CT", "mapping"),
    ],
)
def test_wrong_choices_are_refused(select: object, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as error:
        DicomReader({"select": select})
    assert error.value.where.startswith("input.select")


def test_a_choice_is_no_part_of_how_volumes_are_read(archive: Path) -> None:
    options = ReaderOptions.parse({"select": {"modality": "CT"}})
    assert "select" not in options.as_dict()
    assert ReaderOptions.parse(options.as_dict()).select == Selection()


def called(text: str) -> object:
    return described("", SeriesDescription=text, ImageType=["ORIGINAL", "PRIMARY", "M"], Modality="MR")


@pytest.mark.parametrize("text", ["FAST LOCALIZER", "3-plane loc", "T/S/C RF FAST PILOT", "Scout", "Survey_MST"])
def test_localizers_are_known_by_what_they_are_called(tmp_path: Path, text: str) -> None:
    for number, orientation in enumerate(((1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 0, -1), (0, 1, 0, 0, 0, -1))):

        def change(dataset: Dataset, index: int, number: int = number) -> None:
            called(text)(dataset, index)  # type: ignore[operator]
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.{number}.{index}"

        write_series(tmp_path / str(number), orientation=orientation, change=change)
    refs, skipped = discovered(tmp_path)
    assert refs == []
    assert set(skipped.values()) == {"a localizer, as its series is called; input.options.include_derived takes it"}
    assert len(discovered(tmp_path, include_derived=True)[0]) == 3


@pytest.mark.parametrize("text", ["Pilot study T1", "AAHead_Scout", "surveyed", "autopilot"])
def test_a_volume_is_no_localizer_by_its_name_alone(tmp_path: Path, text: str) -> None:
    write_series(tmp_path, change=called(text))  # type: ignore[arg-type]
    assert len(discovered(tmp_path)[0]) == 1


@pytest.mark.parametrize(
    ("syntax", "what"),
    [
        ("1.2.840.113619.5.2", r"the private transfer syntax 1.2.840.113619.5.2 \(GE, implicit big endian\)"),
        ("1.3.46.670589.99.1", "its private transfer syntax 1.3.46.670589.99.1 is not known"),
        ("1.2.840.10008.1.2.4.102", "the transfer syntax MPEG-4 .* is not decoded"),
        ("1.2.840.10008.1.2.4.107", "the transfer syntax HEVC.* is not decoded"),
        ("1.2.840.10008.1.2.4.94", "the transfer syntax JPIP Referenced is not decoded"),
        ("1.2.840.10008.1.2.4.65", "the transfer syntax JPEG Lossless, Hierarchical .* is not decoded"),
        ("1.2.840.10008.1.2.4.999", "its transfer syntax 1.2.840.10008.1.2.4.999 is not known"),
    ],
)
def test_transfer_syntaxes_that_are_not_decoded_are_named(tmp_path: Path, syntax: str, what: str) -> None:
    for path in write_series(tmp_path):
        content = path.read_bytes()
        assert content.count(b"1.2.840.10008.1.2.1\0") == 1
        stated = syntax.encode()
        new = stated + b"\0" * (len(stated) % 2)
        at = content.index(b"1.2.840.10008.1.2.1\0")
        length = len(new).to_bytes(2, "little")
        changed = content[: at - 2] + length + new + content[at + 20 :]
        group = int.from_bytes(changed[140:144], "little") + len(new) - 20
        path.write_bytes(changed[:140] + group.to_bytes(4, "little") + changed[144:])
    (ref,), _ = discovered(tmp_path)
    with pytest.raises(UnsupportedSceneError, match=what) as error:
        DicomReader().header(ref)
    assert ("not as a video" if re.search("MPEG|HEVC", what) else "standard transfer syntax") in error.value.remedy


def test_an_orientation_of_zeros_is_said(tmp_path: Path) -> None:
    def zero(dataset: Dataset, index: int) -> None:
        dataset.ImageOrientationPatient = [0, 0, 0, 0, 0, 0]

    write_series(tmp_path, change=zero)
    (ref,), _ = discovered(tmp_path)
    with pytest.raises(ReadError, match="the orientation of the image in the patient is all zero") as error:
        DicomReader().header(ref)
    assert "ImageOrientationPatient" in error.value.remedy


def test_rows_along_columns_are_no_orientation(tmp_path: Path) -> None:
    def parallel(dataset: Dataset, index: int) -> None:
        dataset.ImageOrientationPatient = [1, 0, 0, 1, 0, 0]

    write_series(tmp_path, change=parallel)
    (ref,), _ = discovered(tmp_path)
    with pytest.raises(ReadError, match="no two directions"):
        DicomReader().header(ref)


@pytest.mark.parametrize(
    ("sop_class", "what"),
    [
        ("1.2.840.10008.5.1.4.1.1.77.1.6", "export a level of it as TIFF"),
        ("1.2.840.10008.5.1.4.1.1.77.1.9", "export a level of it as TIFF"),
        ("1.2.840.10008.5.1.4.1.1.7", "include_derived takes it"),
    ],
)
def test_what_is_left_out_says_what_to_do(tmp_path: Path, sop_class: str, what: str) -> None:
    def change(dataset: Dataset, index: int) -> None:
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
        del dataset.ImagePositionPatient

    write_series(tmp_path, [0.0], change=change)
    refs, skipped = discovered(tmp_path)
    assert refs == []
    (reason,) = skipped.values()
    assert what in reason
