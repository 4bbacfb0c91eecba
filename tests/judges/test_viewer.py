"""DICOM SEG in a real viewer's code: the label volume that it reads, and what it draws, against our own rendering."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from hdm_dicom.segmentation.writer import SegmentationWriter
from hdm_dicom.structure_set.writer import StructureSetWriter
from hdm_pipeline.contracts import SceneHeader
from tests.dicom_product import make_product, overlapping_product
from tests.dicom_series import write_series
from tests.judges.conftest import RequireJudge
from tests.judges.orthanc import INSTALL, running
from tests.judges.viewer import Shot, bundled, label_volumes, opened

SHAPE = (11, 48, 64)
OBLIQUE = (np.cos(0.3), np.sin(0.3), 0, 0, 0, -1)
PLANES = ("ACQUISITION", "AXIAL", "CORONAL", "SAGITTAL")
SLICES = (5, 2)
DRAWN = ("BINARY-True", "BINARY-False", "LABELMAP-True")
KINDS = ("BINARY", "LABELMAP", "FRACTIONAL")
WINDOW = (-200, 200)


def organs(header: SceneHeader) -> np.ndarray:
    """Class 1 a ball with a hole in the upper slices only, class 2 a rod and single pixels, and some nodata."""
    _, depth, height, width = header.shape
    z, y, x = np.mgrid[:depth, :height, :width]
    distance = np.hypot(np.hypot(y - height * 0.5, x - width * 0.45), 3 * (z - depth * 0.6))
    mask = np.zeros((1, depth, height, width), np.uint8)
    mask[0][(distance < height * 0.35) & (distance > height * 0.15)] = 1
    mask[0][np.hypot(y - height * 0.3, x - width * 0.9) < height * 0.06] = 2
    mask[0, depth // 2, 2, 2] = mask[0, depth // 2, 5:8, 4] = 2
    mask[0, :2] = 0
    mask[0, 0, 0, 0] = 255
    return mask


def one_frame(header: SceneHeader) -> np.ndarray:
    mask = np.zeros((1, *header.shape[1:]), np.uint8)
    mask[0, 3, 5:9, 20:31] = 2
    return mask


def anatomy(index: int) -> np.ndarray:
    """Grey ramps in HU + 1024, another one in each slice."""
    _, height, width = SHAPE
    y, x = np.mgrid[:height, :width]
    return (1024 - 150 + 3 * x + 2 * y + 5 * index).astype(np.uint16)


class Opened:
    """What the viewer made of all segmentations of one series, in one go."""

    def __init__(self, chromium: str, folder: Path) -> None:
        def square_pixels(dataset: Dataset, index: int) -> None:
            dataset.PixelSpacing = [0.7, 0.7]

        bundled(folder)
        depths = np.arange(SHAPE[0]) * 2.0
        paths = write_series(
            folder / "series", depths, orientation=OBLIQUE, pixels=anatomy, change=square_pixels, shape=SHAPE[1:]
        )
        self.product = make_product(folder / "series", organs)
        self.mask = np.where(organs(self.product.scene)[0] == 255, 0, organs(self.product.scene)[0])
        names = []
        for kind in KINDS:
            for omit in (True, False):
                names.append(f"{kind}-{omit}.dcm")
                writer = SegmentationWriter({"type": kind, "omit_empty_frames": omit})
                writer.write(self.product, folder / names[-1])
            names.append(f"{kind}-one-frame.dcm")
            SegmentationWriter({"type": kind}).write(make_product(folder / "series", one_frame), folder / names[-1])
        names.append("overlapping.dcm")
        overlapping, self.layers = overlapping_product(folder / "series")
        SegmentationWriter({"segments": "overlapping"}).write(overlapping, folder / names[-1])
        job = {
            "series": [str(path.relative_to(folder)) for path in paths],
            "segmentations": names,
            "draw": [f"{name}.dcm" for name in DRAWN],
            "slices": SLICES,
            "planes": PLANES,
            "colors": [info.color for info in self.product.classes],
        }
        self.answers = opened(chromium, folder, job)

    def shot(self, file: str, name: str) -> Shot:
        return Shot.of(self.answers[f"{file}.dcm"]["images"][name])

    def voxels(self, places: np.ndarray) -> np.ndarray:
        """[..., 3] indices (z, y, x) of places in the patient, not rounded."""
        affine = np.array(self.product.scene.geometry.affine).reshape(4, 4)  # type: ignore[union-attr]
        xyz = (places - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
        return np.asarray(xyz[..., ::-1])

    def rendered(self, places: np.ndarray) -> np.ndarray:
        """Our own picture: the class at each place; 0 outside."""
        at = np.rint(self.voxels(places)).astype(int)
        inside = ((at >= 0) & (at < SHAPE)).all(axis=-1)
        z, y, x = np.moveaxis(np.clip(at, 0, np.array(SHAPE) - 1), -1, 0)
        return np.where(inside, self.mask[z, y, x], 0)

    def classes(self, shot: Shot) -> np.ndarray:
        """The class that each pixel of a screenshot has the colour of; 0 for grey, 99 for other colours."""
        found = np.full(shot.pixels.shape[:2], 99)
        found[np.ptp(shot.pixels.astype(int), axis=2) <= 1] = 0
        for info in self.product.classes:
            found[np.abs(shot.pixels.astype(int) - info.color).max(axis=2) <= 1] = info.value
        return found


@pytest.fixture(scope="module")
def viewer(tmp_path_factory: pytest.TempPathFactory, require_judge: RequireJudge) -> Opened:
    return Opened(require_judge("chromium", "apt-get install chromium"), tmp_path_factory.mktemp("viewer"))


@pytest.mark.parametrize("name", ["True", "False", "one-frame"])
@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_the_viewer_reads_the_mask(viewer: Opened, kind: str, name: str) -> None:
    """Whether empty frames are there (`False`) or left out (`True`), and where one frame is left."""
    answer = viewer.answers[f"{kind}-{name}.dcm"]
    assert "error" not in answer, answer["error"]
    (labels,) = label_volumes(answer, SHAPE)
    expected = one_frame(viewer.product.scene)[0] if name == "one-frame" else viewer.mask
    assert np.array_equal(labels, expected)
    assert [name for name in answer["names"] if name != "Background"] == ["liver", "spleen"]


def test_the_viewer_reads_segments_that_overlap(viewer: Opened) -> None:
    answer = viewer.answers["overlapping.dcm"]
    assert "error" not in answer, answer["error"]
    assert answer["overlapping"] is True
    volumes = label_volumes(answer, SHAPE)
    assert len(volumes) == 2
    for number, layer in enumerate(viewer.layers, start=1):
        assert np.array_equal(np.any([volume == number for volume in volumes], axis=0), layer == 1)


def test_the_viewer_does_not_show_scores(viewer: Opened) -> None:
    """As docs/pacs.md says."""
    assert "Fractional segmentations are not yet supported" in viewer.answers["FRACTIONAL-True.dcm"]["error"]


@pytest.mark.parametrize("file", DRAWN)
@pytest.mark.parametrize("name", [*(f"slice {index}" for index in SLICES), *PLANES])
def test_the_overlay_lies_where_we_draw_it(viewer: Opened, file: str, name: str) -> None:
    shot = viewer.shot(file, name)
    shown, ours = viewer.classes(shot), viewer.rendered(shot.places)
    assert set(np.unique(ours)) >= {0, 1}
    assert (ours > 0).sum() > 2000
    wrong = shown != ours
    # Within a pixel of the picture: only at borders, and there the neighbour's class.
    beside = np.pad(ours, 1, mode="edge")
    height, width = ours.shape
    near = np.any(
        [beside[dy : dy + height, dx : dx + width] == shown for dy in range(3) for dx in range(3)],
        axis=0,
    )
    assert near.all()
    assert wrong.mean() < 0.01


@pytest.mark.parametrize("index", SLICES)
def test_the_slice_lies_under_its_overlay(viewer: Opened, index: int) -> None:
    shot = viewer.shot("BINARY-True", f"slice {index}")
    at = viewer.voxels(shot.places)
    assert np.abs(at[..., 0] - index).max() < 0.01
    y, x = np.rint(at[..., 1]).astype(int), np.rint(at[..., 2]).astype(int)
    inside = (y >= 0) & (x >= 0) & (y < SHAPE[1]) & (x < SHAPE[2])
    assert inside.mean() > 0.5
    units = anatomy(index).astype(float)[np.clip(y, 0, SHAPE[1] - 1), np.clip(x, 0, SHAPE[2] - 1)] - 1024
    grey = np.clip((units - WINDOW[0]) / (WINDOW[1] - WINDOW[0]), 0, 1) * 255
    plain = inside & (viewer.rendered(shot.places) == 0) & (viewer.classes(shot) == 0)
    difference = np.abs(shot.pixels[..., 0].astype(float) - grey)[plain]
    # A pixel of the slice beside is 3 HU, two levels, away.
    assert np.quantile(difference, 0.99) < 2.5


def test_a_viewer_finds_all_in_orthanc_by_the_documented_settings(require_judge: RequireJudge, tmp_path: Path) -> None:
    """As OHIF does with the data source of docs/pacs.md: query, metadata, instances by WADO-RS, then the overlay."""
    from dicomweb_client.api import DICOMwebClient
    from dicomweb_client.session_utils import create_session_from_user_pass

    page = (Path(__file__).parents[2] / "docs" / "pacs.md").read_text(encoding="utf-8")
    (root,) = set(re.findall(r"(?:qido|wado)Root: '/orthanc([^']+)'", page))  # the web server takes /orthanc off
    got = tmp_path / "got"
    got.mkdir()
    bundled(got)
    write_series(tmp_path / "sent", np.arange(SHAPE[0]) * 2.0, pixels=anatomy, shape=SHAPE[1:])
    product = make_product(tmp_path / "sent", organs)
    SegmentationWriter().write(product, tmp_path / "sent" / "segmentation.dcm")
    StructureSetWriter().write(product, tmp_path / "sent" / "rtstruct.dcm")
    with running(require_judge("Orthanc", INSTALL), tmp_path / "orthanc") as archive:
        archive.fill(tmp_path / "sent")
        session = create_session_from_user_pass(username=archive.user, password=archive.password)
        client = DICOMwebClient(archive.http + root, session=session)
        (study,) = client.search_for_studies(search_filters={"PatientID": "P1"})
        uid = study["0020000D"]["Value"][0]
        names = {}
        for series in client.search_for_series(uid, fields=["SeriesDescription"]):
            modality, series_uid = series["00080060"]["Value"][0], series["0020000E"]["Value"][0]
            names[modality] = series.get("0008103E", {}).get("Value", [""])[0]
            assert client.retrieve_series_metadata(uid, series_uid)
            for number, dataset in enumerate(client.retrieve_series(uid, series_uid)):
                dataset.save_as(got / f"{modality}-{number:02d}", enforce_file_format=True)
    assert names == {"CT": "", "SEG": "HDM segmentation", "RTSTRUCT": "HDM structures"}
    slices = sorted(got.glob("CT-*"), key=lambda path: int(pydicom.dcmread(path).InstanceNumber))
    job = {"series": [path.name for path in slices], "segmentations": ["SEG-00"], "draw": []}
    answers = opened(require_judge("chromium", "apt-get install chromium"), got, job)
    (labels,) = label_volumes(answers["SEG-00"], SHAPE)
    mask = organs(product.scene)[0]
    assert np.array_equal(labels, np.where(mask == 255, 0, mask))
    assert (got / "RTSTRUCT-00").is_file()
