"""DICOM SEG before its judges: dciodvfy, dcmqi, dcmjs, and Orthanc by STOW-RS and C-STORE with authentication."""

from __future__ import annotations

import hashlib
import json
import subprocess
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from hdm_dicom.segmentation.writer import SegmentationWriter
from hdm_pipeline.contracts import Product, VolumeGeometry
from tests.dicom_product import make_product, overlapping_product, two_blobs
from tests.dicom_series import write_series
from tests.judges.conftest import RequireJudge, missing
from tests.judges.orthanc import INSTALL, Archive, running
from tests.judges.viewer import node_environment
from tests.unit.dicom.test_drawn_labels import labels_of, noise, opened
from tests.unit.dicom.test_flat_images import FLAT, in_enhanced_pairs

KINDS = ("BINARY", "FRACTIONAL", "LABELMAP")
REAL = (
    "dicom/ct-abdomen/example_ct_dicom",
    "dicom/dcmqi/ct-3slice",
    "dicom/dcmqi/23x38x3/image",
    "dicom/dicom2nifti/hitachi",
    "dicom/dicom2nifti/philips_enhanced",
    "dicom/dicom2nifti/siemens_multiframe",
    "dicom/highdicom/dx_image.dcm",
)


def segment(folder: Path | str, path: Path, kind: str, **options: Any) -> Product:
    product = make_product(folder, **options)
    SegmentationWriter({"type": kind}).write(product, path)
    return product


@pytest.fixture
def oblique(tmp_path: Path) -> Path:
    """A series of 23 x 31 pixels, oblique, so that neither packing nor geometry is trivial."""
    orientation = (np.cos(0.3), np.sin(0.3), 0, 0, 0, -1)
    write_series(tmp_path / "oblique", shape=(23, 31), orientation=orientation)
    return tmp_path / "oblique"


def findings(dciodvfy: str, path: Path) -> list[str]:
    result = subprocess.run([dciodvfy, str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert "Segmentation" in result.stderr
    return [line for line in result.stderr.splitlines() if line.startswith(("Error", "Warning"))]


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL"])
@pytest.mark.parametrize("plane", ["acquired", "axial"])
def test_dciodvfy_finds_nothing(
    require_judge: RequireJudge, oblique: Path, tmp_path: Path, kind: str, plane: str
) -> None:
    dciodvfy = require_judge("dciodvfy", "apt-get install dicom3tools")
    segment(oblique, tmp_path / "out.dcm", kind, options={"plane": plane})
    assert findings(dciodvfy, tmp_path / "out.dcm") == []


def test_overlapping_segments_are_valid_and_read(require_judge: RequireJudge, oblique: Path, tmp_path: Path) -> None:
    dciodvfy = require_judge("dciodvfy", "apt-get install dicom3tools")
    program = require_judge("segimage2itkimage", "pip install dcmqi")
    product, layers = overlapping_product(oblique)
    SegmentationWriter({"segments": "overlapping"}).write(product, tmp_path / "out.dcm")
    assert findings(dciodvfy, tmp_path / "out.dcm") == []
    command = [program, "--inputDICOM", str(tmp_path / "out.dcm"), "--outputDirectory", str(tmp_path), "-t", "nii"]
    subprocess.run([*command, "-p", "s"], capture_output=True, timeout=120, check=True)
    for number, layer in enumerate(layers, start=1):
        found = np.asarray(nibabel.load(tmp_path / f"s-{number}.nii.gz").dataobj)  # type: ignore[attr-defined]
        assert np.count_nonzero(found) == np.count_nonzero(layer)


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL"])
@pytest.mark.parametrize("name", list(FLAT))
def test_dciodvfy_finds_nothing_where_no_place_is_told(
    require_judge: RequireJudge, tmp_path: Path, name: str, kind: str
) -> None:
    dciodvfy = require_judge("dciodvfy", "apt-get install dicom3tools")
    write_series(tmp_path / "flat", (0.0,), shape=(23, 31), change=lambda dataset, _: FLAT[name](dataset))
    segment(tmp_path / "flat", tmp_path / "out.dcm", kind)
    assert findings(dciodvfy, tmp_path / "out.dcm") == []


@pytest.mark.parametrize("name", ["oblique", "gaps", *FLAT])
def test_labels_that_were_drawn_are_valid_and_read_by_dcmqi(
    require_judge: RequireJudge, tmp_path: Path, name: str
) -> None:
    """Few of many slices, a class that is described and not drawn, and images without a place."""
    dciodvfy = require_judge("dciodvfy", "apt-get install dicom3tools")
    program = require_judge("segimage2itkimage", "pip install dcmqi")
    if name in FLAT:
        write_series(tmp_path / "in", (0.0,), shape=(23, 31), change=lambda dataset, _: FLAT[name](dataset))
    else:
        orientation = (np.cos(0.3), np.sin(0.3), 0, 0, 0, -1)
        write_series(tmp_path / "in", [2.0 * index for index in range(9)], shape=(23, 31), orientation=orientation)
    reader, header = opened(tmp_path / "in")
    drawn = noise(header, 0) if name in FLAT else noise(header, 2, 3, 7) if name == "gaps" else noise(header, 1, 2)
    labels = labels_of(header, drawn, {1: "liver", 2: "tumor", 3: "never drawn"})
    (file,) = reader.save_labels(labels, tmp_path).files
    assert findings(dciodvfy, Path(file)) == []
    if name in FLAT:
        return  # dcmqi wants places
    command = [program, "--inputDICOM", file, "--outputDirectory", str(tmp_path), "-t", "nii", "-p", "s"]
    subprocess.run(command, capture_output=True, timeout=120, check=True)
    for number, value in ((1, 0), (2, 1), (3, 2)):
        image: Any = nibabel.load(tmp_path / f"s-{number}.nii.gz")  # type: ignore[attr-defined]
        assert np.count_nonzero(np.asarray(image.dataobj)) == sum(int((v == value).sum()) for v in drawn.values())
        assert image.header.get_zooms()[2] == pytest.approx(2.0)


def beds(index: int) -> float:
    """Depths of slices of a PET whose beds overlap by 0.08 mm too much."""
    return 3.27 * index - 0.08 * (index > 2)


STACKS: dict[str, tuple[tuple[float, ...], Callable[[Dataset, int], None]]] = {
    "one slice": ((0.0,), lambda dataset, index: None),
    "overlapping beds": (tuple(beds(index) for index in range(6)), lambda dataset, index: None),
    "microscope": (
        tuple(0.009 * index for index in range(6)),
        lambda dataset, index: setattr(dataset, "PixelSpacing", [0.009, 0.009]),
    ),
    "several enhanced files": ((0.0, 4.0, 8.0), in_enhanced_pairs),
}


@pytest.mark.parametrize("name", list(STACKS))
def test_dciodvfy_and_dcmqi_find_nothing_in_unusual_stacks(
    require_judge: RequireJudge, tmp_path: Path, name: str
) -> None:
    dciodvfy = require_judge("dciodvfy", "apt-get install dicom3tools")
    program = require_judge("segimage2itkimage", "pip install dcmqi")
    depths, change = STACKS[name]
    write_series(tmp_path / "stack", depths, shape=(23, 31), change=change)
    product = segment(tmp_path / "stack", tmp_path / "out.dcm", "BINARY")
    assert findings(dciodvfy, tmp_path / "out.dcm") == []
    compare_with_dcmqi(program, product, tmp_path / "out.dcm", tmp_path / "dcmqi", "BINARY")


@pytest.mark.data
@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL"])
@pytest.mark.parametrize("name", REAL)
def test_dciodvfy_finds_nothing_on_real_series(
    require_judge: RequireJudge, test_data: Path, tmp_path: Path, name: str, kind: str
) -> None:
    dciodvfy = require_judge("dciodvfy", "apt-get install dicom3tools")
    segment(test_data / name, tmp_path / "out.dcm", kind)
    assert findings(dciodvfy, tmp_path / "out.dcm") == []


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL"])
def test_dciodvfy_finds_nothing_after_deidentification(
    require_judge: RequireJudge, oblique: Path, tmp_path: Path, kind: str
) -> None:
    dciodvfy = require_judge("dciodvfy", "apt-get install dicom3tools")
    (tmp_path / "key").write_bytes(b"sixteen bytes or more")
    options = {"type": kind, "deidentify": {"key_file": str(tmp_path / "key")}}
    SegmentationWriter(options).write(make_product(oblique), tmp_path / "out.dcm")
    assert findings(dciodvfy, tmp_path / "out.dcm") == []


def compare_with_dcmqi(program: str, product: Product, path: Path, out: Path, kind: str) -> None:
    """Every voxel that dcmqi finds lies where our mask has it, and it finds all of them."""
    out.mkdir()
    command = [program, "--inputDICOM", str(path), "--outputDirectory", str(out), "-t", "nii", "-p", "s"]
    subprocess.run(command, capture_output=True, timeout=120, check=True)
    assert isinstance(product.scene.geometry, VolumeGeometry)
    to_voxel = np.linalg.inv(np.array(product.scene.geometry.affine).reshape(4, 4))
    mask = two_blobs(product.scene)[0]
    mask[mask == 255] = 0
    found = np.zeros_like(mask)
    for file in sorted(out.glob("s-*.nii.gz")):
        image: Any = nibabel.load(file)
        label = np.asarray(image.dataobj)
        at = np.argwhere(label > 0)
        lps = np.diag([-1.0, -1, 1, 1]) @ image.affine @ np.c_[at, np.ones(len(at))].T
        voxels = (to_voxel @ lps)[:3]
        assert np.abs(voxels - np.rint(voxels)).max() < 0.01
        x, y, z = np.rint(voxels).astype(int)
        number = int(file.name.split("-")[1].split(".")[0])
        values = label[tuple(at.T)]
        if kind == "FRACTIONAL":
            assert set(values.tolist()) == {200}
        found[z, y, x] = values if kind == "LABELMAP" else number
    assert np.array_equal(found, mask)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("plane", ["acquired", "axial"])
def test_dcmqi_gives_the_same_voxels(
    require_judge: RequireJudge, oblique: Path, tmp_path: Path, kind: str, plane: str
) -> None:
    program = require_judge("segimage2itkimage", "pip install dcmqi")
    product = segment(oblique, tmp_path / "out.dcm", kind, options={"plane": plane})
    compare_with_dcmqi(program, product, tmp_path / "out.dcm", tmp_path / "dcmqi", kind)


@pytest.mark.data
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [name for name in REAL if "dx_image" not in name])
def test_dcmqi_gives_the_same_voxels_on_real_series(
    require_judge: RequireJudge, test_data: Path, tmp_path: Path, name: str, kind: str
) -> None:
    program = require_judge("segimage2itkimage", "pip install dcmqi")
    product = segment(test_data / name, tmp_path / "out.dcm", kind)
    compare_with_dcmqi(program, product, tmp_path / "out.dcm", tmp_path / "dcmqi", kind)


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_dcmjs_reads_the_voxels(require_judge: RequireJudge, oblique: Path, tmp_path: Path, kind: str) -> None:
    node = require_judge("node", "apt-get install nodejs")
    product = segment(oblique, tmp_path / "out.dcm", kind)
    script = Path(__file__).with_name("read_seg.js")
    command = [node, str(script), str(tmp_path / "out.dcm")]
    result = subprocess.run(command, capture_output=True, text=True, env=node_environment(), check=True)
    read = json.loads(result.stdout.splitlines()[-1])
    mask = two_blobs(product.scene)[0]
    mask[mask == 255] = 0
    slices = {pydicom.dcmread(path).SOPInstanceUID: z for z, path in enumerate(_in_order(product))}
    assert read["type"] == kind
    assert len(read["frames"]) == (4 if kind == "LABELMAP" else 6)
    for frame in read["frames"]:
        plane = mask[slices[frame["source"]]]
        expected = plane if frame["segment"] == 0 else (plane == frame["segment"]).astype(np.uint8)
        assert frame["sha256"] == hashlib.sha256(np.ascontiguousarray(expected).tobytes()).hexdigest()


def _in_order(product: Product) -> list[str]:
    def depth(path: str) -> float:
        header = pydicom.dcmread(path, stop_before_pixels=True)
        row, column = np.array(header.ImageOrientationPatient, dtype=float).reshape(2, 3)
        return float(np.array(header.ImagePositionPatient, dtype=float) @ np.cross(row, column))

    return sorted(product.scene.ref.members, key=depth)


@pytest.fixture
def orthanc(require_judge: RequireJudge, tmp_path: Path) -> Iterator[Archive]:
    with running(require_judge("Orthanc", INSTALL), tmp_path / "orthanc") as archive:
        yield archive


@pytest.mark.parametrize("kind", KINDS)
def test_orthanc_returns_what_stow_stored(orthanc: Archive, tmp_path: Path, kind: str) -> None:
    # Frames of whole bytes: Orthanc cannot serve a frame that begins inside a byte.
    path = tmp_path / "out.dcm"
    write_series(tmp_path / "series", shape=(24, 32))
    segment(tmp_path / "series", path, kind)
    sent = path.read_bytes()
    seg = pydicom.dcmread(path, stop_before_pixels=True)
    border = "judge-border"
    body = b"\r\n".join(
        [f"--{border}".encode(), b"Content-Type: application/dicom", b"", sent, f"--{border}--".encode(), b""]
    )
    headers = {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={border}',
        "Accept": "application/dicom+json",
    }
    answer = json.loads(orthanc.call("/dicom-web/studies", body, headers))
    assert len(answer["00081199"]["Value"]) == 1
    assert not answer.get("00081198", {}).get("Value")
    assert orthanc.stored(seg.SOPInstanceUID) == sent
    # A viewer asks for the frames one by one.
    uids = f"{seg.StudyInstanceUID}/series/{seg.SeriesInstanceUID}/instances/{seg.SOPInstanceUID}"
    wanted = {"Accept": 'multipart/related; type="application/octet-stream"'}
    assert orthanc.call(f"/dicom-web/studies/{uids}/frames/1", headers=wanted)


def test_orthanc_asks_who_stows(orthanc: Archive) -> None:
    stranger = Archive(orthanc.http, orthanc.dicom_port, "judge", "wrong")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        stranger.call("/dicom-web/studies")


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL"])
def test_orthanc_returns_what_c_store_stored(
    orthanc: Archive, require_judge: RequireJudge, oblique: Path, tmp_path: Path, kind: str
) -> None:
    storescu = require_judge("storescu", "apt-get install dcmtk")
    path = tmp_path / "out.dcm"
    segment(oblique, path, kind)

    def send(caller: str) -> int:
        command = [storescu, "-R", "-aet", caller, "-aec", "JUDGE", "127.0.0.1", str(orthanc.dicom_port), str(path)]
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode

    assert send("STRANGER") != 0
    assert send("HDM") == 0
    assert_stored(orthanc, path)


def test_orthanc_returns_a_labelmap_sent_by_c_store(orthanc: Archive, oblique: Path, tmp_path: Path) -> None:
    # dcmtk 3.6.7 does not know the storage class yet and sends nothing; pynetdicom sends any.
    try:
        from pynetdicom import AE
    except ImportError:
        missing("pynetdicom (install: pip install pynetdicom)")
    path = tmp_path / "out.dcm"
    segment(oblique, path, "LABELMAP")
    seg = pydicom.dcmread(path)
    caller = AE(ae_title="HDM")
    caller.add_requested_context(seg.SOPClassUID, seg.file_meta.TransferSyntaxUID)
    association = caller.associate("127.0.0.1", orthanc.dicom_port, ae_title="JUDGE")
    assert association.is_established
    status = association.send_c_store(seg)
    association.release()
    assert status.Status == 0
    assert_stored(orthanc, path)


def assert_stored(orthanc: Archive, path: Path) -> None:
    """The archive holds the data set of a file, whatever its meta header says of who stored it."""
    seg = pydicom.dcmread(path)
    back = path.with_name("back.dcm")
    back.write_bytes(orthanc.stored(seg.SOPInstanceUID))
    assert pydicom.dcmread(back) == seg
