"""Images without a place in the patient: X-rays, runs, loops. Products say nothing of places, and all the rest."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from hdm_dicom.label_image import LabelImageWriter
from hdm_dicom.maps.writer import ParametricMapWriter
from hdm_dicom.nifti import NiftiWriter
from hdm_dicom.reader import DicomReader
from hdm_dicom.segmentation.writer import SegmentationWriter
from hdm_pipeline.contracts import NODATA, SceneCheckingWriter, SidecarWriter, SupportRequest, Writer
from hdm_pipeline.errors import ConfigError, SupportError, WriteError
from tests.dicom_product import LIVER, SPLEEN, make_product, two_blobs
from tests.dicom_series import write_series
from tests.raster_product import product as raster_product
from tests.raster_product import scene as raster_scene
from tests.unit.dicom.test_spacing import as_xray

ANGIOGRAPHY = "1.2.840.10008.5.1.4.1.1.12.1"
ULTRASOUND_LOOP = "1.2.840.10008.5.1.4.1.1.3.1"
KINDS = ("BINARY", "FRACTIONAL", "LABELMAP")


def as_run(sop_class: str, modality: str, frames: int = 4) -> Callable[[Dataset], None]:
    """Several frames without functional groups in one file."""

    def change(dataset: Dataset) -> None:
        as_xray(dataset)
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
        dataset.Modality = modality
        dataset.NumberOfFrames = frames
        dataset.PixelData = dataset.PixelData * frames

    return change


def without_position(dataset: Dataset) -> None:
    """A frame of reference and an orientation, but no position: as an archive that lost it."""
    dataset.ImagePositionPatient = None
    dataset.PixelSpacing = None


def in_enhanced_pairs(dataset: Dataset, index: int) -> None:
    """A file of two frames, the second one 2 mm above."""
    places = [float(v) for v in dataset.ImagePositionPatient]
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    orientation, measures, shared = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = dataset.ImageOrientationPatient
    measures.PixelSpacing, measures.SliceThickness = dataset.PixelSpacing, 2
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    dataset.SharedFunctionalGroupsSequence = [shared]
    items = []
    for step in (0.0, 2.0):
        place, item = Dataset(), Dataset()
        place.ImagePositionPatient = [places[0], places[1], places[2] + step]
        item.PlanePositionSequence = [place]
        items.append(item)
    dataset.PerFrameFunctionalGroupsSequence = items
    dataset.NumberOfFrames = 2
    dataset.PixelData = dataset.PixelData * 2


FLAT = {
    "xray": as_xray,
    "angiography": as_run(ANGIOGRAPHY, "XA"),
    "ultrasound": as_run(ULTRASOUND_LOOP, "US"),
    "no position": without_position,
}


@pytest.fixture(params=list(FLAT))
def flat(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    write_series(tmp_path / "flat", (0.0,), shape=(23, 31), change=lambda dataset, _: FLAT[request.param](dataset))
    return tmp_path / "flat"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", list(FLAT))
def test_a_segmentation_without_places_refers_to_the_pixels_of_its_source(tmp_path: Path, name: str, kind: str) -> None:
    flat = tmp_path / "flat"
    write_series(flat, (0.0,), shape=(23, 31), change=lambda dataset, _: FLAT[name](dataset))
    product = make_product(flat)
    writer = SegmentationWriter({"type": kind})
    writer.check_scene(product.scene)
    writer.write(product, tmp_path / "out.dcm")
    seg = pydicom.dcmread(tmp_path / "out.dcm")
    text = seg.to_json()
    for absent in ("FrameOfReferenceUID", "PositionReferenceIndicator", "DimensionOrganizationType"):
        assert absent not in seg
    for absent in ("00200032", "00200037", "00289110", "00280030", "00180050", "00180088"):
        assert f'"{absent}"' not in text
    source = pydicom.dcmread(product.scene.ref.members[0])
    assert (seg.Rows, seg.Columns) == (source.Rows, source.Columns)
    (file,) = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert (file.ReferencedSOPClassUID, file.ReferencedSOPInstanceUID) == (source.SOPClassUID, source.SOPInstanceUID)
    mask = two_blobs(product.scene)[0]
    shown = []
    for item, pixels in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array.reshape(-1, 23, 31), strict=True):
        reference = item.DerivationImageSequence[0].SourceImageSequence[0]
        assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
        several = int(source.get("NumberOfFrames", 1)) > 1
        frame = int(reference.ReferencedFrameNumber) - 1 if several else 0
        assert ("ReferencedFrameNumber" in reference) == several
        content = item.FrameContentSequence[0]
        assert content.TemporalPositionIndex == np.atleast_1d(content.DimensionIndexValues)[-1]
        segment = 0
        if kind != "LABELMAP":
            segment = item.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        shown.append((segment, frame))
        wanted = mask[frame] == segment if segment else np.where(mask[frame] == NODATA, 0, mask[frame])
        assert np.array_equal(pixels > 0 if segment else pixels, wanted)
    assert shown == sorted(shown)
    seen = {
        (int(value) if kind != "LABELMAP" else 0, z)
        for z in range(len(mask))
        for value in (1, 2)
        if (mask[z] == value).any()
    }
    assert set(shown) == seen
    again = tmp_path / "again.dcm"
    SegmentationWriter({"type": kind}).write(make_product(flat), again)
    assert again.read_bytes() == (tmp_path / "out.dcm").read_bytes()
    assert hd.seg.segread(again).segmentation_type.value == kind


def without_thickness(dataset: Dataset, index: int) -> None:
    del dataset.SliceThickness


@pytest.mark.parametrize("kind", KINDS)
def test_one_slice_of_unknown_thickness_keeps_its_place_and_is_given_no_extent(tmp_path: Path, kind: str) -> None:
    write_series(tmp_path / "one", (4.0,), change=without_thickness)
    product = make_product(tmp_path / "one")
    SegmentationWriter({"type": kind}).write(product, tmp_path / "out.dcm")
    seg, source = pydicom.dcmread(tmp_path / "out.dcm"), pydicom.dcmread(product.scene.ref.members[0])
    assert seg.FrameOfReferenceUID == source.FrameOfReferenceUID
    (orientation,) = seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    assert orientation.ImageOrientationPatient == source.ImageOrientationPatient
    for item in seg.PerFrameFunctionalGroupsSequence:
        assert item.PlanePositionSequence[0].ImagePositionPatient == source.ImagePositionPatient
    assert not any(f'"{tag}"' in seg.to_json() for tag in ("00289110", "00180050", "00180088"))
    request = SupportRequest(str(tmp_path / "one"), str(tmp_path / "out.dcm"), (1,))
    (example,) = DicomReader().read_support(request)
    assert np.array_equal(example.label == 1, two_blobs(product.scene)[0, 0] == 1)


def test_a_map_of_one_slice_of_unknown_thickness_is_refused_before_the_run(tmp_path: Path) -> None:
    write_series(tmp_path / "one", (4.0,), change=without_thickness)
    product = make_product(tmp_path / "one")
    for refused in (ParametricMapWriter().check_scene, lambda scene: ParametricMapWriter().write(product, tmp_path)):
        with pytest.raises(WriteError, match=r"SliceThickness \(0018,0050\)") as caught:
            refused(product.scene)
        assert "FRACTIONAL" in (caught.value.remedy or "")


@pytest.mark.parametrize("writer", [SegmentationWriter, ParametricMapWriter])
def test_the_distance_of_several_slices_stands_for_a_thickness_that_is_not_stated(tmp_path: Path, writer: type) -> None:
    write_series(tmp_path / "in", (0.0, 2.5, 5.0), change=without_thickness)
    writer().write(make_product(tmp_path / "in"), tmp_path / "out.dcm")
    (measures,) = pydicom.dcmread(tmp_path / "out.dcm").SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert (measures.SliceThickness, measures.SpacingBetweenSlices) == (2.5, 2.5)


def test_planes_of_the_body_are_none_of_images_without_a_place(flat: Path) -> None:
    assert make_product(flat, options={"plane": "coronal"}).scene.shape == make_product(flat).scene.shape


@pytest.mark.parametrize(
    ("writer", "file"), [(SegmentationWriter(), "out.dcm"), (NiftiWriter(), "out.nii.gz")], ids=["seg", "nifti"]
)
def test_our_own_reader_takes_such_a_product_as_labels(flat: Path, tmp_path: Path, writer: Writer, file: str) -> None:
    product = make_product(flat)
    writer.write(product, tmp_path / file)
    examples = DicomReader().read_support(SupportRequest(str(flat), str(tmp_path / file), (1,)))
    mask = two_blobs(product.scene)[0]
    wanted = [(z == 1) for z in mask if (z == 1).any()]
    assert len(examples) == len(wanted)
    for example, label in zip(examples, wanted, strict=True):
        assert np.array_equal(example.label == 1, label)


def test_frames_of_several_enhanced_files_are_referred_to_one_by_one(tmp_path: Path) -> None:
    """A volume that is spread over files of several frames, each at its own place."""

    write_series(tmp_path / "series", (0.0, 4.0, 8.0), change=in_enhanced_pairs)
    product = make_product(tmp_path / "series")
    assert product.scene.shape == (1, 6, 24, 32)
    SegmentationWriter().write(product, tmp_path / "out.dcm")
    seg = pydicom.dcmread(tmp_path / "out.dcm")
    sources = {d.SOPInstanceUID: d for d in map(pydicom.dcmread, product.scene.ref.members)}
    files = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert {item.ReferencedSOPInstanceUID for item in files} == set(sources)
    assert len(seg.SourceImageSequence) == 3
    for item in seg.PerFrameFunctionalGroupsSequence:
        reference = item.DerivationImageSequence[0].SourceImageSequence[0]
        source = sources[reference.ReferencedSOPInstanceUID]
        frame = source.PerFrameFunctionalGroupsSequence[int(reference.ReferencedFrameNumber) - 1]
        assert reference.ReferencedSOPClassUID == source.SOPClassUID
        assert item.PlanePositionSequence[0].ImagePositionPatient == frame.PlanePositionSequence[0].ImagePositionPatient


@pytest.mark.parametrize("writer", [SegmentationWriter, ParametricMapWriter])
@pytest.mark.parametrize(("depths", "distance"), [((0.0,), None), ((0.0, 2.0, 4.06, 6.0), 2.0), ((0, 2, 4, 9), None)])
def test_the_distance_between_slices_is_stated_where_it_is_known(
    tmp_path: Path, writer: type, depths: tuple[float, ...], distance: float | None
) -> None:
    """None of one slice, one of slices that are even within the tolerance, none of uneven ones."""
    write_series(tmp_path / "in", depths)
    writer().write(make_product(tmp_path / "in", options={"policy": "resample"}), tmp_path / "out.dcm")
    (measures,) = pydicom.dcmread(tmp_path / "out.dcm").SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert measures.get("SpacingBetweenSlices") == distance
    assert measures.SliceThickness == 2


def test_nifti_of_images_without_a_place_says_that_none_is_known(flat: Path, tmp_path: Path) -> None:
    product = make_product(flat)
    NiftiWriter().write(product, tmp_path / "out.nii.gz")
    image = nibabel.load(tmp_path / "out.nii.gz")
    header = image.header  # type: ignore[attr-defined]
    assert (int(header["sform_code"]), int(header["qform_code"])) == (0, 0)
    assert bytes(header["descrip"].tobytes()).rstrip(b"\0") == b"no position in the patient"
    assert header.get_xyzt_units()[0] == ("unknown" if product.scene.attributes["pixel_spacing"] is None else "mm")
    mask = two_blobs(product.scene)[0]
    assert np.array_equal(np.asarray(image.dataobj), np.where(mask == NODATA, 0, mask).transpose(2, 1, 0))  # type: ignore[attr-defined]


def test_label_images_hold_the_mask_in_the_colors_of_its_classes(flat: Path, tmp_path: Path) -> None:
    product = make_product(flat)
    writer = LabelImageWriter()
    path = tmp_path / writer.filename(product.scene)
    writer.write(product, path)
    mask = two_blobs(product.scene)[0]
    told = json.loads((tmp_path / "segmentation.json").read_text())
    if len(mask) == 1:
        assert path.name == "segmentation.png"
        files = [path.read_bytes()]
    else:
        assert path.name == "segmentation.zip"
        with zipfile.ZipFile(path) as archive:
            assert archive.namelist() == told["members"]
            files = [archive.read(name) for name in archive.namelist()]
    for content, wanted in zip(files, mask, strict=True):
        image = Image.open(io.BytesIO(content))
        assert image.mode == "P"
        assert np.array_equal(np.asarray(image), wanted)
        colors = np.asarray(image.convert("RGBA"))
        for info in (LIVER, SPLEEN):
            assert (colors[wanted == info.value] == [*info.color, 255]).all()
        assert not colors[(wanted == 0) | (wanted == NODATA), 3].any()
    for info, one in zip((LIVER, SPLEEN), told["classes"], strict=True):
        assert (one["value"], one["name"], one["codes"]) == (info.value, info.name, dict(info.codes))
        assert one["pixels"] == int((mask == info.value).sum())
        assert [each["pixels"] for each in one["by_image"]] == [int((z == info.value).sum()) for z in mask]
        assert one["area_mm2"] is None
    assert told["no_data_pixels"] == 1
    names = {"segmentation.json", "segmentation.zip", "segmentation.png"}
    assert set(writer.sidecars(path.name)) == names - {path.name}
    first = path.read_bytes()
    writer.write(make_product(flat), path)
    assert path.read_bytes() == first


def test_label_images_tell_areas_where_the_spacing_is_known(tmp_path: Path) -> None:
    write_series(tmp_path / "ct")
    product = make_product(tmp_path / "ct")
    LabelImageWriter().write(product, tmp_path / "segmentation.zip")
    told = json.loads((tmp_path / "segmentation.json").read_text())
    assert told["pixel_spacing_mm"] == [0.5, 0.75]
    assert told["pixel_spacing_from"] == "PixelSpacing"
    for one in told["classes"]:
        assert one["area_mm2"] == pytest.approx(one["pixels"] * 0.375)


def test_are_writers() -> None:
    assert isinstance(LabelImageWriter(), Writer)
    assert isinstance(LabelImageWriter(), SidecarWriter)
    assert isinstance(SegmentationWriter(), SceneCheckingWriter)
    with pytest.raises(ConfigError):
        LabelImageWriter({"format": "png"})


def test_what_no_segmentation_can_hold_is_told_with_what_can(tmp_path: Path) -> None:
    from dataclasses import replace

    write_series(tmp_path / "ct")
    scene = make_product(tmp_path / "ct").scene
    large = replace(scene, shape=(1, 70_000, 512, 512))
    for header, options in (
        (replace(scene, shape=(1, 5, 70_000, 32)), {}),
        (large, {"type": "FRACTIONAL", "omit_empty_frames": False}),
        (replace(scene, ref=replace(scene.ref, reader="other")), {}),
    ):
        with pytest.raises(WriteError) as caught:
            SegmentationWriter(options).check_scene(header)
        assert "`nifti` or `label_image`" in caught.value.remedy
    SegmentationWriter().check_scene(large)
    with pytest.raises(WriteError, match="NIfTI-1") as caught:
        NiftiWriter().check_scene(large)
    assert "`segmentation` or `label_image`" in caught.value.remedy
    with pytest.raises(WriteError, match="DICOM"):
        LabelImageWriter().write(raster_product(raster_scene(5, 5)), tmp_path / "x.png")


@pytest.mark.parametrize(("located", "size"), [(True, (32, 24, 5)), (False, (32, 24, 2))])
def test_a_nifti_without_a_place_is_refused_where_its_voxels_are_not_those_of_the_images(
    tmp_path: Path, located: bool, size: tuple[int, int, int]
) -> None:
    def change(dataset: Dataset, index: int) -> None:
        if not located:
            del dataset.ImagePositionPatient

    write_series(tmp_path / "series", (0.0,) if not located else (0.0, 2.0, 4.0, 6.0, 8.0), change=change)
    image = nibabel.Nifti1Image(np.ones(size, np.uint8), None)
    image.header.set_qform(None, code=0)
    image.header.set_sform(None, code=0)
    nibabel.save(image, tmp_path / "label.nii")
    with pytest.raises(SupportError, match="do not say where they lie"):
        DicomReader().read_support(SupportRequest(str(tmp_path / "series"), str(tmp_path / "label.nii")))
