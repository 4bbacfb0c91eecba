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
from hdm_pipeline.contracts import NODATA, ClassInfo, Product, SceneHeader, SceneKind, VolumeGeometry
from hdm_pipeline.errors import WriteError
from hdm_pipeline.grid import Window

_WHERE = "output.products, nifti"
_LEVEL = 6
_MILLIMETRES = 2
_SCANNER = 1
_UNKNOWN = 0
_SHEAR = 1e-4
_MAX_SIDE = 0x7FFF


class NiftiWriter:
    """Writes ``segmentation.nii.gz``: class values as uint8, nodata as 0, affine in NIfTI's RAS.

    Of images without a position in the patient only the size of a pixel is written: the codes of both transforms are 0,
    which means that no place is known.

    Args:
        options: none are known.

    Raises:
        ConfigError: an option is given.
    """

    name: ClassVar[str] = "nifti"
    scenes: ClassVar[SceneKind] = "volumes"
    libraries: ClassVar[tuple[str, ...]] = ("nibabel",)
    media_type: ClassVar[str] = "application/x-nifti"

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        check_names(dict(options or {}), [], _WHERE)

    def check(self, classes: Sequence[ClassInfo]) -> list[str]:
        """Any classes can be written."""
        return []

    def check_scene(self, scene: SceneHeader) -> None:
        """Refuse what a NIfTI-1 file cannot hold; see `SceneCheckingWriter.check_scene`.

        Raises:
            WriteError: no volume, or a side of more than 32,767 voxels.
        """
        if not isinstance(scene.geometry, VolumeGeometry):
            raise WriteError("NIfTI needs a volume", where=scene.ref.id, remedy="choose another product")
        if max(scene.shape[1:]) > _MAX_SIDE:
            raise WriteError(
                f"a volume of {' x '.join(map(str, scene.shape[1:]))} voxels is larger than NIfTI-1 allows",
                where=scene.ref.id,
                remedy="choose the product `segmentation` or `label_image`",
            )

    def filename(self, scene: SceneHeader) -> str:
        """Always ``segmentation.nii.gz``."""
        return "segmentation.nii.gz"

    def write(self, product: Product, path: Path) -> None:
        """Write slice by slice; the same bytes for the same product.

        Raises:
            OutputError: the disk is full.
            WriteError: the scene is no volume, or any other failure.
        """
        self.check_scene(product.scene)
        geometry = product.scene.geometry
        assert isinstance(geometry, VolumeGeometry)
        _, depth, height, width = product.scene.shape
        # Readers of located volumes say nothing of it: an affine that leads into the patient is in millimetres.
        known = geometry.located or product.scene.attributes.get("pixel_spacing") is not None
        try:
            # No name and no time in the gzip header: the same mask is the same file.
            with path.open("wb") as file, gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as out:
                out.write(_header((width, height, depth), geometry, spacing_known=known))
                for z in range(depth):
                    mask = product.mask.read(Window(z=z, y=0, x=0, height=height, width=width))[0]
                    out.write(np.where(mask == NODATA, 0, mask).astype(np.uint8).tobytes())
        except OSError as error:
            raise write_error(error, "the NIfTI volume", path, product.scene.ref.id) from None


def _header(size: tuple[int, int, int], geometry: VolumeGeometry, *, spacing_known: bool) -> bytes:
    """A NIfTI-1 header with its empty extension flag: 352 bytes."""
    from nibabel.nifti1 import Nifti1Header

    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.array(geometry.affine, dtype=np.float64).reshape(4, 4)
    header: Any = Nifti1Header()  # type: ignore[no-untyped-call]
    header.set_data_dtype(np.uint8)
    header.set_data_shape(size)
    header.set_zooms(np.linalg.norm(ras[:3, :3], axis=0))
    if geometry.located:
        header.set_sform(ras, code=_SCANNER)
        # The quaternion holds no shear (gantry tilt); where it cannot tell the truth it says nothing.
        header.set_qform(ras, code=0 if _sheared(ras) else _SCANNER, strip_shears=True)
    else:
        header.set_sform(None, code=_UNKNOWN)
        header.set_qform(None, code=_UNKNOWN)
        header["descrip"] = b"no position in the patient"
    header.set_xyzt_units(_MILLIMETRES if spacing_known else _UNKNOWN)
    header["magic"] = b"n+1"
    header["vox_offset"] = 352
    return bytes(header.binaryblock) + b"\0\0\0\0"


def _sheared(ras: npt.NDArray[np.float64]) -> bool:
    axes = ras[:3, :3] / np.linalg.norm(ras[:3, :3], axis=0)
    return float(np.abs(axes.T @ axes - np.eye(3)).max()) > _SHEAR
