"""Labels in NIfTI volumes."""

from __future__ import annotations

import gzip
from typing import Any

import numpy as np
import numpy.typing as npt

from hdm_dicom.examples.labels import GRID_TOLERANCE, Label, Marked, Wanted, held, pick, slice_affine
from hdm_dicom.examples.losses import off_the_slices
from hdm_dicom.files.attributes import READ_ERRORS
from hdm_dicom.series.places import Array
from hdm_dicom.series.volume import Volume
from hdm_pipeline.contracts import IGNORE, SceneWarning
from hdm_pipeline.errors import SupportError

_AGAIN = "save the labels again: the file is damaged"
_PIECE = 1 << 20
_NEARLY = 1e-3
"""Label values that are this close to a whole number are that number: a scale that a program wrote is never exact."""


def _check_to_the_end(path: str) -> None:
    """Read a compressed file to its end, where its checksum is: what is read before it may be anything.

    Raises:
        OSError: it is damaged; or an error of `READ_ERRORS`.
    """
    with gzip.open(path) as file:
        while file.read(_PIECE):
            pass


def _settled(label: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Label values with those that are nearly whole numbers made whole; the same array where they are integers."""
    if label.dtype.kind != "f":
        return label
    whole = np.rint(label)
    return np.where(np.abs(label - whole) <= _NEARLY, whole, label)


class NiftiLabels:
    """Labels in a NIfTI volume, whatever the order and direction of its axes: its affine says.

    Holds the label volume in its stored type.

    Raises:
        SupportError: unreadable, not three-dimensional, or it does not meet the series.
    """

    def __init__(self, path: str, volume: Volume, wanted: Wanted) -> None:
        import nibabel
        from nibabel.filebasedimages import ImageFileError
        from nibabel.spatialimages import SpatialImage

        try:
            image = nibabel.load(path)
            if not isinstance(image, SpatialImage):
                raise ValueError("no volume")
            self._label = np.asarray(image.dataobj)
            if path.lower().endswith(".gz"):
                _check_to_the_end(path)
        except (ImageFileError, *READ_ERRORS) as error:  # type: ignore[misc]
            what = f"the NIfTI labels cannot be read ({type(error).__name__})"
            raise SupportError(what, where=volume.id, remedy=_AGAIN) from None
        while self._label.ndim > 3 and self._label.shape[-1] == 1:
            self._label = self._label[..., 0]
        if self._label.ndim != 3:
            what = f"the NIfTI labels have {self._label.ndim} dimensions, not 3"
            raise SupportError(what, where=volume.id, remedy="save one volume of label values")
        if self._label.dtype.kind not in "biuf":
            what = "the NIfTI labels are colors or complex numbers, not label values"
            raise SupportError(what, where=volume.id, remedy="save one volume of label values")
        self._label = _settled(self._label)
        if not np.isin(self._label, list(wanted.values | wanted.background)).any():
            what = f"the NIfTI labels have no {wanted.named}"
            raise SupportError(what, where=volume.id, remedy=f"set `value` to what is meant of {held(self._label)}")
        # NIfTI's world is RAS, DICOM's is LPS.
        to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(image.affine, dtype=np.float64)
        header: Any = image.header
        if not (header["qform_code"] or header["sform_code"]):
            # Then the affine is nibabel's guess. What the product `nifti` makes of images without a place is so.
            to_lps = self._voxel_by_voxel(volume)
        if abs(np.linalg.det(to_lps)) < 1e-12:
            what = "the affine of the NIfTI labels is singular"
            raise SupportError(what, where=volume.id, remedy="save the labels again, with the affine of the series")
        self._to_lps, self._from_lps = to_lps, np.linalg.inv(to_lps)
        self._volume = volume
        self._wanted = wanted

    def _voxel_by_voxel(self, volume: Volume) -> Array:
        """[4, 4] from label indices to LPS millimetres, where voxels of labels are those of images without a place."""
        instance = volume.first.instance
        size = (instance.columns, instance.rows, len(volume.frames))
        if volume.located or self._label.shape != size:
            raise SupportError(
                f"the NIfTI labels ({' x '.join(map(str, self._label.shape))} voxels) do not say where they lie"
                " (qform_code and sform_code are 0)",
                where=volume.id,
                remedy="save them with the affine of the series; or, for images without a place, with as many voxels"
                f" as these have ({' x '.join(map(str, size))})",
            )
        return volume.affine

    @property
    def warnings(self) -> tuple[SceneWarning, ...]:
        """See `LabelSource`."""
        lost = of = 0
        for z in range(self._label.shape[2]):
            x, y = np.nonzero(np.isin(self._label[:, :, z], list(self._wanted.values)))
            of += x.size
            lost += int(np.count_nonzero(~self._reached(np.stack([x, y, np.full(x.size, z), np.ones(x.size)]))))
        return off_the_slices(lost, of, "voxels", self._wanted.named)

    def _reached(self, voxels: Array) -> Marked:
        """[n] whether a pixel of some slice lies where the voxels [4, n] do, as large as the larger of the two is."""
        volume, instance = self._volume, self._volume.first.instance
        points = (self._to_lps @ voxels)[:3].T
        depths = points @ volume.normal
        nearest = np.searchsorted((volume.depths[1:] + volume.depths[:-1]) / 2, depths)
        offsets = points - volume.positions[nearest]
        row_mm, column_mm = volume.spacing
        away = np.abs(depths - volume.depths[nearest]) / volume.step
        half = np.abs(volume.axes @ self._to_lps[:3, :3]).sum(axis=1) / 2
        found: Marked = away <= max(0.5, half[2] / volume.step) + GRID_TOLERANCE
        for axis, mm, extent in ((0, column_mm, instance.columns), (1, row_mm, instance.rows)):
            across = offsets @ volume.axes[axis] / mm
            beyond = np.maximum(-across, across - (extent - 1))
            found &= beyond <= max(0.5, half[axis] / mm) + GRID_TOLERANCE
        return found

    def stored(self, index: int) -> Label:
        """See `LabelSource`."""
        instance = self._volume.first.instance
        to_label = self._from_lps @ slice_affine(self._volume, index)
        found, inside = pick(self._label, to_label, (instance.rows, instance.columns))
        label = self._wanted.paint(found)
        label[~inside] = IGNORE
        return label
