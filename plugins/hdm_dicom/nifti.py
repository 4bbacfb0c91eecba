"""The writer plug-in for NIfTI: the mask as a compressed label volume, in the grid that was segmented."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from hdm_dicom.derived.write_errors import write_error
from hdm_dicom.options import check_names
from hdm_pipeline.contracts import NODATA, ClassInfo, Product, SceneHeader, VolumeGeometry
from hdm_pipeline.errors import WriteError
from hdm_pipeline.grid import Window

_WHERE = "output.products, nifti"
_LEVEL = 6
_MILLIMETRES = 2
_SCANNER = 1
_SHEAR = 1e-4


class NiftiWriter:
    """Writes ``segmentation.nii.gz``: class values as uint8, nodata as 0, affine in NIfTI's RAS.

    Args:
        options: none are known.

    Raises:
        ConfigError: an option is given.
    """

    name: ClassVar[str] = "nifti"
    media_type: ClassVar[str] = "application/x-nifti"

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        check_names(dict(options or {}), [], _WHERE)

    def check(self, classes: Sequence[ClassInfo]) -> list[str]:
        """Any classes can be written."""
        return []

    def filename(self, scene: SceneHeader) -> str:
        """Always ``segmentation.nii.gz``."""
        return "segmentation.nii.gz"

    def write(self, product: Product, path: Path) -> None:
        """Write slice by slice; the same bytes for the same product.

        Raises:
            OutputError: the disk is full.
            WriteError: the scene is no volume, or any other failure.
        """
        geometry = product.scene.geometry
        if not isinstance(geometry, VolumeGeometry):
            raise WriteError("NIfTI needs a volume", where=product.scene.ref.id, remedy="choose another product")
        _, depth, height, width = product.scene.shape
        try:
            # No name and no time in the gzip header: the same mask is the same file.
            with path.open("wb") as file, gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as out:
                out.write(_header((width, height, depth), geometry))
                for z in range(depth):
                    mask = product.mask.read(Window(z=z, y=0, x=0, height=height, width=width))[0]
                    out.write(np.where(mask == NODATA, 0, mask).astype(np.uint8).tobytes())
        except OSError as error:
            raise write_error(error, "the NIfTI volume", path, product.scene.ref.id) from None


def _header(size: tuple[int, int, int], geometry: VolumeGeometry) -> bytes:
    """A NIfTI-1 header with its empty extension flag: 352 bytes."""
    from nibabel.nifti1 import Nifti1Header

    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.array(geometry.affine, dtype=np.float64).reshape(4, 4)
    header: Any = Nifti1Header()  # type: ignore[no-untyped-call]
    header.set_data_dtype(np.uint8)
    header.set_data_shape(size)
    header.set_zooms(np.linalg.norm(ras[:3, :3], axis=0))
    header.set_sform(ras, code=_SCANNER)
    # The quaternion holds no shear (gantry tilt); where it cannot tell the truth it says nothing.
    header.set_qform(ras, code=0 if _sheared(ras) else _SCANNER, strip_shears=True)
    header.set_xyzt_units(_MILLIMETRES)
    header["magic"] = b"n+1"
    header["vox_offset"] = 352
    return bytes(header.binaryblock) + b"\0\0\0\0"


def _sheared(ras: npt.NDArray[np.float64]) -> bool:
    axes = ras[:3, :3] / np.linalg.norm(ras[:3, :3], axis=0)
    return float(np.abs(axes.T @ axes - np.eye(3)).max()) > _SHEAR
