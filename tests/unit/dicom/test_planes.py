"""A series in its three planes at once: every slice of the stack is that of the plane it stands for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdm_dicom.reader import DicomReader
from hdm_dicom.stack import planes_of, view_of
from hdm_pipeline.contracts import SceneHeader, SceneRef, SupportRequest
from hdm_pipeline.errors import UnsupportedSceneError
from hdm_pipeline.grid import Window
from tests.dicom_series import write_series

ORIENTATIONS = {
    "axial": (1, 0, 0, 0, 1, 0),
    "prone": (-1, 0, 0, 0, -1, 0),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "oblique": (np.cos(0.3), np.sin(0.3), 0, 0, 0, -1),
}


def noise(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 3000, (24, 32), dtype=np.uint16)


def whole(folder: Path, plane: str, **options: object) -> tuple[SceneHeader, np.ndarray, np.ndarray]:
    """Header, pixels [bands, z, y, x] and validity [z, y, x] of the one series in a folder."""
    reader = DicomReader({"plane": plane, **options})
    (ref,) = [item for item in reader.discover(str(folder)) if isinstance(item, SceneRef)]
    with reader.open(ref) as source:
        bands, depth, height, width = source.header.shape
        read = [source.read(Window(z=z, y=0, x=0, height=height, width=width), range(bands)) for z in range(depth)]
        assert source.header == reader.header(ref)
        return source.header, np.stack([p for p, _ in read], axis=1), np.stack([v for _, v in read])


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("options", [{}, {"neighbors": 1}])
def test_the_stack_is_the_three_planes(tmp_path: Path, orientation: str, options: dict[str, object]) -> None:
    def padded(dataset: object, index: int) -> None:
        dataset.add_new(0x00280120, "US", 1200 + index)  # type: ignore[attr-defined]
        dataset.add_new(0x00280121, "US", 1300)  # type: ignore[attr-defined]

    write_series(tmp_path, orientation=ORIENTATIONS[orientation], pixels=noise, change=padded)
    header, pixels, valid = whole(tmp_path, "consensus", **options)
    assert header.stack is not None
    first = 0
    for plane in ("axial", "coronal", "sagittal"):
        own, own_pixels, own_valid = whole(tmp_path, plane, **options)
        _, count, height, width = own.shape
        part = (slice(first, first + count), slice(0, height), slice(0, width))
        assert np.array_equal(pixels[:, *part], own_pixels)
        assert np.array_equal(valid[part], own_valid)
        assert not valid[first : first + count, height:].any()
        assert not valid[first : first + count, :, width:].any()
        if plane == "axial":
            assert header.stack.volume == own.shape[1:]
            assert header.geometry == own.geometry
        first += count
    assert first == header.shape[1]


@settings(deadline=None)
@given(
    st.permutations((0, 1, 2)), st.tuples(*[st.booleans()] * 3), st.tuples(*[st.floats(-0.6, 0.6, allow_nan=False)] * 3)
)
def test_planes_belong_together(axes: list[int], flips: tuple[bool, ...], turned: tuple[float, ...]) -> None:
    """The views of a consensus are those of the single planes, however the series lies."""
    affine = np.eye(4)
    for column, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
        affine[:3, column] = 0
        affine[axis, column] = -1.5 if flip else 1.5
    for axis, angle in enumerate(turned):
        rotation = np.eye(4)
        one, other = [i for i in range(3) if i != axis]
        rotation[one, one] = rotation[other, other] = np.cos(angle)
        rotation[one, other], rotation[other, one] = -np.sin(angle), np.sin(angle)
        affine = rotation @ affine
    views = planes_of(view_of("consensus", affine))
    assert views == tuple(view_of(plane, affine) for plane in ("axial", "coronal", "sagittal"))  # type: ignore[arg-type]


def test_supports_are_axial(tmp_path: Path) -> None:
    from PIL import Image

    write_series(tmp_path / "series", pixels=noise)
    Image.fromarray(np.ones((24, 32), np.uint8)).save(tmp_path / "mask.png")
    request = SupportRequest(str(tmp_path / "series"), str(tmp_path / "mask.png"), slices=(2,))
    (found,) = DicomReader({"plane": "consensus"}).read_support(request)
    (axial,) = DicomReader({"plane": "axial"}).read_support(request)
    assert np.array_equal(found.pixels, axial.pixels)


def test_one_slice_has_no_other_planes(tmp_path: Path) -> None:
    write_series(tmp_path, (0.0,))
    with pytest.raises(UnsupportedSceneError, match="no other planes"):
        whole(tmp_path, "consensus")
