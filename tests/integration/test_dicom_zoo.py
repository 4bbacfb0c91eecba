"""Every file of the real DICOM collection ends in a read or in a clear error, and none hides the others."""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from hdm_dicom.reader import DicomReader
from hdm_dicom.segmentation.writer import SegmentationWriter
from hdm_pipeline.contracts import SceneRef, Skipped, SupportRequest
from hdm_pipeline.errors import EmptyArchiveError, SceneError, SupportError
from hdm_pipeline.grid import Window
from tests.dicom_product import make_product

pytestmark = pytest.mark.data

READ = "read"


def outcome(reader: DicomReader, ref: SceneRef) -> str:
    """`read`, or the type and text of the error. Reads every slice."""
    try:
        header = reader.header(ref)
        with reader.open(ref) as source:
            for z in range(header.shape[1]):
                pixels, valid = source.read(Window.whole(z, header.shape[2:]), range(header.shape[0]))
                assert pixels.shape == (header.shape[0], *header.shape[2:])
                assert np.isfinite(pixels[:, valid]).all()
    except SceneError as error:
        return f"{type(error).__name__}: {error.what}" if error.where.startswith(ref.id) else "unnamed scene"
    return READ


def outcomes(folder: Path, **options: object) -> dict[str, list[str]]:
    """Outcomes of all volumes, and reasons of what was left out under ``skipped``."""
    reader = DicomReader(options)
    found: dict[str, list[str]] = {}
    for item in reader.discover(str(folder)):
        if isinstance(item, Skipped):
            found.setdefault("skipped", []).append(item.reason)
        else:
            found.setdefault(item.id, []).append(outcome(reader, item))
    return found


def test_the_whole_collection_at_once(test_data: Path) -> None:
    found = outcomes(test_data / "dicom")
    skipped = found.pop("skipped")
    results = Counter(result for (result,) in found.values())
    assert results[READ] >= 35
    assert results["unnamed scene"] == 0
    assert sum(count for result, count in results.items() if "Siemens mosaic" in result) == 2
    reasons = " ".join(skipped)
    for expected in (
        "are not DICOM",
        "DICOMDIR",
        "a localizer",
        "a projection",
        "a segmentation",
        "whole-slide",
        "dose",
        "RT Structure Set",
    ):
        assert expected in reasons


def every_file(test_data: Path) -> list[Path]:
    return sorted(path for path in (test_data / "dicom").rglob("*") if path.is_file() and "TINY_ALPHA" not in str(path))


def test_each_file_alone(test_data: Path) -> None:
    reader = DicomReader({"include_derived": True, "policy": "split"})
    results: Counter[str] = Counter()
    for path in every_file(test_data):
        try:
            for item in reader.discover(str(path)):
                results[outcome(reader, item) if isinstance(item, SceneRef) else item.reason] += 1
        except EmptyArchiveError:
            results["empty"] += 1
    assert results[READ] > 200
    assert results["unnamed scene"] == 0
    truncated = [text for text in results if "the header promises" in text]
    assert truncated
    assert any("12-bit lossy JPEG" in text for text in results)
    assert not [text for text in results if "Traceback" in text or "/" in text.replace("and/or", "")]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("gantrytilting/001", "gantry tilt of 14.0 degrees"),
        ("sliceincrement/001", "1 slice is missing"),
        ("sliceincrement/002", "1 slice is missing"),
    ],
)
def test_what_strict_refuses_the_other_policies_read(test_data: Path, name: str, problem: str) -> None:
    folder = test_data / "dicom/dicom2nifti/failing" / name
    (strict,) = outcomes(folder).values()
    assert problem in strict[0]
    for policy in ("split", "resample"):
        found = outcomes(folder, policy=policy)
        assert "skipped" not in found
        assert all(result == [READ] for result in found.values())


@pytest.mark.parametrize("codec", ["compressed", "compressed_j2k", "compressed_jpeg", "compressed_jpegls"])
def test_lossless_codecs_agree(test_data: Path, codec: str) -> None:
    generic = test_data / "dicom/dicom2nifti/generic"
    one, other = (_volume(generic / name / "001") for name in ("compressed_rle", codec))
    assert np.array_equal(one, other)


def _volume(folder: Path) -> np.ndarray:
    reader = DicomReader()
    (ref,) = [item for item in reader.discover(str(folder)) if isinstance(item, SceneRef)]
    with reader.open(ref) as source:
        _, z, y, x = source.header.shape
        return np.stack([source.read(Window(z=i, y=0, x=0, height=y, width=x), [0])[0][0] for i in range(z)])


def test_an_enhanced_file_cut_in_two_is_the_same_volume(test_data: Path, tmp_path: Path) -> None:
    folder = test_data / "dicom/dicom2nifti/hyperfine/anatomical/001"
    whole = pydicom.dcmread(folder / "001.dcm")
    pixels, frames = whole.pixel_array, list(whole.PerFrameFunctionalGroupsSequence)
    for name, part in (("b", slice(0, 5)), ("a", slice(5, 8))):
        cut = copy.deepcopy(whole)
        cut.PerFrameFunctionalGroupsSequence = frames[part]
        cut.NumberOfFrames = len(frames[part])
        cut.PixelData = pixels[part].tobytes()
        cut.SOPInstanceUID = cut.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{part.stop}"
        (tmp_path / "in").mkdir(exist_ok=True)
        cut.save_as(tmp_path / "in" / name)
    assert np.array_equal(_volume(folder), _volume(tmp_path / "in"))
    product = make_product(tmp_path / "in")
    SegmentationWriter().write(product, tmp_path / "out.dcm")
    seg = pydicom.dcmread(tmp_path / "out.dcm")
    places = {
        tuple(frame.PlanePositionSequence[0].ImagePositionPatient): ("1.2.3.5", index + 1)
        if index < 5
        else ("1.2.3.8", index - 4)
        for index, frame in enumerate(frames)
    }
    for item in seg.PerFrameFunctionalGroupsSequence:
        source = item.DerivationImageSequence[0].SourceImageSequence[0]
        referred = source.ReferencedSOPInstanceUID, source.ReferencedFrameNumber
        assert places[tuple(item.PlanePositionSequence[0].ImagePositionPatient)] == referred


def test_liver_of_the_abdomen_by_its_nifti_labels(test_data: Path) -> None:
    folder = test_data / "dicom/ct-abdomen"
    mask = folder / "example_seg_dicom.nii.gz"
    request = SupportRequest(str(folder / "example_ct_dicom"), str(mask), (5,), slices=(5, 12))
    images = DicomReader().read_support(request)
    labels = np.asarray(nibabel.load(mask).dataobj)  # type: ignore[attr-defined]
    for image, z in zip(images, (5, 12), strict=True):
        liver = image.label == 1
        # Axis 1 of the NIfTI runs against the rows of the slices.
        assert np.array_equal(liver, (labels[:, ::-1, z] == 5).T)
        # Contrast-enhanced liver: about 90 HU. A wrong flip would hit air and bone.
        assert 70 < float(np.median(image.pixels[0][liver])) < 110


def test_liver_by_its_dicom_segmentation(test_data: Path) -> None:
    folder = test_data / "dicom/dcmqi"
    images = DicomReader().read_support(SupportRequest(str(folder / "ct-3slice"), str(folder / "liver.dcm")))
    assert len(images) == 3
    truth = _nrrd(folder / "liver_seg.nrrd")
    assert truth.shape == (3, 512, 512)
    assert [np.array_equal(image.label == 1, plane > 0) for image, plane in zip(images, truth, strict=True)] == [
        True
    ] * 3


def _nrrd(path: Path) -> np.ndarray:
    import gzip

    header, _, data = path.read_bytes().partition(b"\n\n")
    fields = dict(line.split(": ", 1) for line in header.decode().splitlines() if ": " in line)
    raw = gzip.decompress(data) if fields["encoding"] in ("gzip", "gz") else data
    kind = {"short": np.int16, "unsigned char": np.uint8, "uchar": np.uint8, "unsigned short": np.uint16}[
        fields["type"]
    ]
    return np.frombuffer(raw, kind).reshape([int(n) for n in fields["sizes"].split()][::-1])


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        ("rt-utils/mock_data", "pydicom/rtplan.dcm", "neither"),
        ("rt-utils/mock_data", "dcmqi/liver.dcm", "another series|no frame"),
        ("dcmqi/ct-3slice", "rt-utils/mock_data/rt.dcm", "no contour"),
        ("dcmqi/ct-3slice", "pydicom/liver_1frame.dcm", "cannot be read"),
        ("dicom2nifti/siemens/fmri/001", "dcmqi/liver.dcm", "mosaic|2 volumes"),
    ],
)
def test_labels_that_do_not_belong(test_data: Path, image: str, mask: str, message: str) -> None:
    dicom = test_data / "dicom"
    with pytest.raises(SupportError, match=message):
        DicomReader().read_support(SupportRequest(str(dicom / image), str(dicom / mask)))


def test_every_file_as_a_mask(test_data: Path) -> None:
    image = str(test_data / "dicom/rt-utils/mock_data")
    reader = DicomReader()
    used = named = 0
    for path in every_file(test_data):
        try:
            used += len(reader.read_support(SupportRequest(image, str(path))))
        except SupportError as error:
            named += str(test_data) in str(error)
    assert used >= 2
    assert named == 0
