"""Support labels from NIfTI, RTSTRUCT, SEG and image files, matched to slices by UID and geometry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import nibabel
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from hdm_dicom.examples.rtstruct import filled
from hdm_dicom.reader import DicomReader
from hdm_pipeline.contracts import SupportRequest
from hdm_pipeline.errors import SupportError
from tests.dicom_labels import affine_of, contour, structure_set
from tests.dicom_series import uid, write_series

SHAPE = (5, 24, 32)


def truth() -> np.ndarray:
    label = np.zeros(SHAPE, np.uint8)
    label[1:4, 5:12, 8:20] = 7
    label[2, 15:20, 3:9] = 9
    return label


@pytest.fixture
def series(tmp_path: Path) -> Path:
    angle = 0.4
    orientation = (np.cos(angle), np.sin(angle), 0, 0, 0, -1)
    write_series(tmp_path / "series", orientation=orientation)
    return tmp_path / "series"


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(axes=st.permutations((0, 1, 2)), flips=st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_nifti_of_any_axis_order(series: Path, axes: list[int], flips: tuple[bool, bool, bool]) -> None:
    lps = affine_of(series)
    label = truth().transpose(2, 1, 0)  # x, y, z
    change = np.zeros((4, 4))
    change[3, 3] = 1
    for mine, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
        change[axis, mine] = -1 if flip else 1
        change[axis, 3] = label.shape[axis] - 1 if flip else 0
    turned = label.transpose(axes)[tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)]
    path = series.parent / "label.nii.gz"
    nibabel.save(nibabel.Nifti1Image(turned, np.diag([-1.0, -1, 1, 1]) @ lps @ change), path)
    images = DicomReader().read_support(SupportRequest(str(series), str(path), (7,), (9,)))
    assert [image.name.rsplit(" ", 1)[1] for image in images] == ["1", "2", "3"]
    for image, expected in zip(images, truth()[1:4], strict=True):
        assert np.array_equal(image.label == 1, expected == 7)
        assert np.array_equal(image.label == 255, expected == 9)


@pytest.mark.parametrize("plane", ["axial", "sagittal", "coronal"])
def test_labels_follow_the_plane(series: Path, plane: str) -> None:
    path = series.parent / "label.nii.gz"
    ras = np.diag([-1.0, -1, 1, 1]) @ affine_of(series)
    nibabel.save(nibabel.Nifti1Image(truth().transpose(2, 1, 0), ras), path)
    images = DicomReader({"plane": plane}).read_support(SupportRequest(str(series), str(path), (7,)))
    assert sum(int((image.label == 1).sum()) for image in images) == (truth() == 7).sum()
    for image in images:
        # Slice k of the series holds -24 + k everywhere: pixels and labels must be turned alike.
        assert set(image.pixels[0][image.label == 1].tolist()) <= {-23.0, -22.0, -21.0}


def test_what_lies_outside_the_label_volume_is_ignored(series: Path) -> None:
    path = series.parent / "label.nii.gz"
    ras = np.diag([-1.0, -1, 1, 1]) @ affine_of(series)
    nibabel.save(nibabel.Nifti1Image(truth().transpose(2, 1, 0)[:16], ras), path)
    (image,) = DicomReader().read_support(SupportRequest(str(series), str(path), (7,), slices=(2,)))
    assert (image.label[:, 16:] == 255).all()
    assert (image.label[:, :16] != 255).all()


@pytest.mark.parametrize("by_uid", [True, False])
def test_contours_with_a_hole(series: Path, by_uid: bool) -> None:
    affine = affine_of(series)

    def square(low: float, high: float, z: int) -> np.ndarray:
        corners = np.array([[low, low], [high, low], [high, high], [low, high]])
        return (affine @ np.c_[corners, np.full(4, z), np.ones(4)].T).T[:, :3]

    source = uid("series", 2) if by_uid else ""
    path = structure_set(series.parent, [(square(3.5, 12.5, 2), source), (square(6.5, 8.5, 2), source)])
    request = SupportRequest(str(series), str(path), segment="liver")
    (image,) = DicomReader().read_support(request)
    expected = np.zeros(SHAPE[1:], np.uint8)
    expected[4:13, 4:13] = 1
    expected[7:9, 7:9] = 0
    assert np.array_equal(image.label, expected)
    assert image.name.endswith("slice 2")


def drawn_in(path: Path, frame_of_reference: str) -> Path:
    """The structure set, as drawn in a frame of reference."""
    dataset = pydicom.dcmread(path)
    for roi in dataset.StructureSetROISequence:
        roi.ReferencedFrameOfReferenceUID = frame_of_reference
    dataset.save_as(path)
    return path


@pytest.mark.parametrize(("source", "fits"), [("", False), (uid("series", 2), True)])
def test_contours_of_another_frame_of_reference_lie_where_their_images_are(
    series: Path, source: str, fits: bool
) -> None:
    """Coordinates in another frame mean other places, even where the numbers are those of a slice."""
    path = drawn_in(structure_set(series.parent, [(contour(series, 2), source)]), uid("another frame"))
    request = SupportRequest(str(series), str(path), segment="liver")
    if not fits:
        with pytest.raises(SupportError, match="no contour of the structure lies on a slice"):
            DicomReader().read_support(request)
        return
    (image,) = DicomReader().read_support(request)
    assert image.name.endswith("slice 2")
    assert (image.label == 1).sum() == 9


def test_contours_that_lie_elsewhere_than_their_image_are_refused(series: Path) -> None:
    path = structure_set(series.parent, [(contour(series, 4), uid("series", 2))])
    with pytest.raises(SupportError, match="refer to slice 2 and lie elsewhere"):
        DicomReader().read_support(SupportRequest(str(series), str(path), segment="liver"))


def test_a_contour_across_the_slices_lies_on_none(series: Path) -> None:
    across = contour(series, 1)
    across[2:] = contour(series, 3)[2:]
    path = structure_set(series.parent, [(across, ""), (contour(series, 2), "")])
    (image,) = DicomReader().read_support(SupportRequest(str(series), str(path), segment=" Liver"))
    assert (image.label == 1).sum() == 9


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-5, 25), st.floats(-5, 25)), min_size=3, max_size=8),
)
def test_filling_agrees_with_the_definition(points: list[tuple[float, float]]) -> None:
    polygon = np.array(points)
    mask = filled([polygon], (20, 20))
    for y in range(20):
        crossings = np.array(
            [
                x0 + (y - y0) * (x1 - x0) / (y1 - y0)
                for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True)
                if (y0 <= y) != (y1 <= y)
            ]
        )
        for x in range(20):
            # Where an edge runs through the centre of a pixel, rounding decides; everywhere else, the definition does.
            if not np.any(np.abs(crossings - x) < 1e-6):
                assert mask[y, x] == np.count_nonzero(crossings < x) % 2


def test_image_masks(series: Path) -> None:
    folder = series.parent / "masks"
    folder.mkdir()
    for z in (1, 2):
        Image.fromarray(truth()[z]).save(folder / f"label_{z:03d}.png")
    images = DicomReader().read_support(SupportRequest(str(series), str(folder), (7,), (9,)))
    assert [np.array_equal(i.label == 1, truth()[z] == 7) for z, i in zip((1, 2), images, strict=True)] == [True, True]
    single = SupportRequest(str(series), str(folder / "label_002.png"), (9,), slices=(2,))
    (image,) = DicomReader().read_support(single)
    assert np.array_equal(image.label == 1, truth()[2] == 9)


def points() -> np.ndarray:
    """One pixel of the class and one of background on slice 2; a pixel of another value; nothing else is known."""
    label = np.full(SHAPE, 255, np.uint8)
    label[2, 4, 5], label[2, 20, 30], label[2, 1, 1] = 7, 9, 4
    return label


def known(label: np.ndarray) -> list[list[int]]:
    """Row, column and label of what is not unknown."""
    return [[*place, int(label[tuple(place)])] for place in np.argwhere(label != 255).tolist()]


@pytest.mark.parametrize(
    ("background", "expected"),
    [((), [[1, 1, 0], [4, 5, 1], [20, 30, 0]]), ((9,), [[4, 5, 1], [20, 30, 0]])],
)
@pytest.mark.parametrize("kind", ["nifti", "images"])
def test_a_few_labelled_pixels(series: Path, kind: str, background: tuple[int, ...], expected: list[list[int]]) -> None:
    if kind == "nifti":
        path = series.parent / "label.nii.gz"
        ras = np.diag([-1.0, -1, 1, 1]) @ affine_of(series)
        nibabel.save(nibabel.Nifti1Image(points().transpose(2, 1, 0), ras), path)
    else:
        path = series.parent / "masks"
        path.mkdir()
        Image.fromarray(points()[2]).save(path / "2.png")
    (image,) = DicomReader().read_support(SupportRequest(str(series), str(path), (7,), background=background))
    assert known(image.label) == expected


def test_structures_that_are_background(series: Path) -> None:
    affine = affine_of(series)

    def square(low: float, high: float) -> np.ndarray:
        corners = np.array([[low, low], [high, low], [high, high], [low, high]])
        return (affine @ np.c_[corners, np.full(4, 2), np.ones(4)].T).T[:, :3]

    path = structure_set(series.parent, [(square(3.5, 4.5), "")])
    dataset = pydicom.dcmread(path)
    dataset.StructureSetROISequence.append(named := Dataset())
    named.ROINumber, named.ROIName = 4, "not liver"
    dataset.ROIContourSequence.append(drawn := Dataset())
    drawn.ReferencedROINumber = 4
    drawn.ContourSequence = [contour := Dataset()]
    contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", 4
    contour.ContourData = [f"{value:.4f}" for value in square(9.5, 10.5).ravel()]
    dataset.save_as(path)
    (image,) = DicomReader().read_support(SupportRequest(str(series), str(path), segment="liver", background=(4,)))
    assert known(image.label) == [[4, 4, 1], [10, 10, 0]]


def test_the_series_is_found_by_one_of_its_files(series: Path) -> None:
    paths = write_series(series / "beside", series="other", origin=(500, 0, 0))
    folder = series.parent / "masks"
    folder.mkdir()
    Image.fromarray(truth()[2]).save(folder / "2.png")
    with pytest.raises(SupportError, match="2 volumes"):
        DicomReader().read_support(SupportRequest(str(series), str(folder), (7,)))
    (image,) = DicomReader().read_support(SupportRequest(str(paths[3]), str(folder), (7,)))
    assert (image.label == 1).sum() == (truth()[2] == 7).sum()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": (5,)}, "(?s)have no value 5.*0, 7"),
        ({"slices": (0,)}, "(?s)slice 0 holds no pixel.* from 1 to 3"),
        ({"slices": (9,)}, "slice 9 does not exist"),
        ({"mask": "missing.nii"}, "do not exist"),
        ({"image": "nowhere"}, "names no file"),
    ],
)
def test_errors_say_what_is_wrong(series: Path, change: dict[str, object], message: str) -> None:
    path = series.parent / "label.nii.gz"
    ras = np.diag([-1.0, -1, 1, 1]) @ affine_of(series)
    nibabel.save(nibabel.Nifti1Image(truth().transpose(2, 1, 0), ras), path)
    request = {"image": str(series), "mask": str(path), "values": (7,), **change}
    with pytest.raises(SupportError, match=message) as caught:
        DicomReader().read_support(SupportRequest(**request))  # type: ignore[arg-type]
    assert caught.value.remedy


def test_a_mask_of_another_size(series: Path) -> None:
    path = series.parent / "mask.png"
    Image.fromarray(np.ones((7, 9), np.uint8)).save(path)
    with pytest.raises(SupportError, match="7 x 9"):
        DicomReader().read_support(SupportRequest(str(series), str(path), slices=(1,)))


def test_labels_of_another_place(series: Path) -> None:
    path = series.parent / "label.nii.gz"
    ras = np.diag([-1.0, -1, 1, 1]) @ affine_of(series)
    ras[:3, 3] += 1000
    nibabel.save(nibabel.Nifti1Image(truth().transpose(2, 1, 0), ras), path)
    with pytest.raises(
        SupportError, match=r"no slice holds a pixel of the class: .* of .* voxels of value 7 lie on no slice"
    ):
        DicomReader().read_support(SupportRequest(str(series), str(path), (7,)))


def segmentation(series: Path, change: Callable[[Dataset, Dataset], None]) -> Path:
    """The class of `truth` as highdicom writes it, each frame with what it refers to and its place changed.

    Args:
        series: that it is drawn on.
        change: of a frame, with the item that refers to the image of the last one (highdicom begins at the top).
    """
    found = sorted((pydicom.dcmread(p) for p in series.iterdir()), key=lambda one: one.InstanceNumber)
    segment = hd.seg.SegmentDescription(
        1, "Liver", codes.SCT.Organ, codes.SCT.Liver, hd.seg.SegmentAlgorithmTypeValues.MANUAL
    )
    marked = (truth() == 7).astype(np.uint8)
    made = hd.seg.Segmentation(
        found, marked, "BINARY", [segment], hd.UID(), 1, hd.UID(), 1, "Acme", "Model", "1", "1", omit_empty_frames=False
    )
    last = made.PerFrameFunctionalGroupsSequence[-1].DerivationImageSequence[0].SourceImageSequence[0]
    for frame in made.PerFrameFunctionalGroupsSequence:
        change(frame, last)
    path = series.parent / "segmentation.dcm"
    made.save_as(path)
    return path


def test_of_several_images_that_a_frame_refers_to_its_place_decides(series: Path) -> None:
    def change(frame: Dataset, last: Dataset) -> None:
        sources = frame.DerivationImageSequence[0].SourceImageSequence
        frame.DerivationImageSequence[0].SourceImageSequence = [last, *sources]

    path = segmentation(series, change)
    images = DicomReader().read_support(SupportRequest(str(series), str(path)))
    assert [image.name.rsplit(" ", 1)[1] for image in images] == ["1", "2", "3"]
    for image, expected in zip(images, truth()[1:4], strict=True):
        assert np.array_equal(image.label == 1, expected == 7)


def test_a_frame_that_lies_elsewhere_than_its_image_is_refused(series: Path) -> None:
    def change(frame: Dataset, last: Dataset) -> None:
        frame.DerivationImageSequence[0].SourceImageSequence = [last]

    path = segmentation(series, change)
    with pytest.raises(SupportError, match="refer to slice 0 and lie elsewhere"):
        DicomReader().read_support(SupportRequest(str(series), str(path)))


def test_a_frame_of_several_images_and_no_place_is_refused(series: Path) -> None:
    def change(frame: Dataset, last: Dataset) -> None:
        frame.DerivationImageSequence[0].SourceImageSequence.append(last)
        del frame.PlanePositionSequence

    path = segmentation(series, change)
    with pytest.raises(SupportError, match="refer to 2 slices at once"):
        DicomReader().read_support(SupportRequest(str(series), str(path)))


@pytest.mark.parametrize("name", ["label.nii", "label.nii.gz", "label.png", "label.dcm"])
def test_a_damaged_file_of_labels_is_told_when_it_is_looked_at_and_when_it_is_read(series: Path, name: str) -> None:
    path = series.parent / name
    path.write_bytes(b"no labels at all " * 50)
    with pytest.raises(SupportError) as looked_at:
        DicomReader().label_choices(str(path))
    with pytest.raises(SupportError) as read:
        DicomReader().read_support(SupportRequest(str(series), str(path), slices=(1,)))
    assert looked_at.value.remedy
    assert read.value.remedy


@pytest.mark.parametrize(("mode", "fits"), [("L", True), ("P", True), ("RGB", True), ("LA", True), ("colors", False)])
def test_the_values_of_a_mask_are_no_colors(series: Path, mode: str, fits: bool) -> None:
    """Red and yellow have one value in their first channel, and are two classes to whoever drew them."""
    path = series.parent / "mask.png"
    if fits:
        gray = Image.fromarray(truth()[2])
        if mode == "P":
            gray.putpalette(bytes(range(256)) * 3)
        (gray if mode == "P" else gray.convert(mode)).save(path)
    else:
        colors = np.zeros((*SHAPE[1:], 3), np.uint8)
        colors[truth()[2] > 0, 0] = 7
        colors[truth()[2] == 9, 1] = 7
        Image.fromarray(colors).save(path)
    request = SupportRequest(str(series), str(path), (7,), slices=(2,))
    if not fits:
        with pytest.raises(SupportError, match="colors are no label values"):
            DicomReader().read_support(request)
        return
    (image,) = DicomReader().read_support(request)
    assert np.array_equal(image.label == 1, truth()[2] == 7)


def test_a_nifti_of_colors_holds_no_labels(series: Path) -> None:
    path = series.parent / "label.nii.gz"
    colors = np.zeros(SHAPE[::-1], dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(colors, np.eye(4)), path)
    with pytest.raises(SupportError, match="not label values"):
        DicomReader().read_support(SupportRequest(str(series), str(path)))
    with pytest.raises(SupportError, match="holds no labels"):
        DicomReader().label_choices(str(path))
