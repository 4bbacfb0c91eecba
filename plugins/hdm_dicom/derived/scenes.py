"""The series behind a scene, as every product asks for it. Only opening one loads pydicom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hdm_dicom.options import READER, ReaderOptions
from hdm_pipeline.contracts import SceneHeader, VolumeGeometry
from hdm_pipeline.errors import WriteError

if TYPE_CHECKING:
    from hdm_dicom.volumes.volume_io import OpenVolume


def require_series(scene: SceneHeader, product: str, remedy: str = "leave the product out") -> None:
    """Refuse a scene that is no DICOM series.

    Args:
        scene: of the product.
        product: as the subject of a sentence, e.g. "a preview needs".
        remedy: what to do instead.

    Raises:
        WriteError: it is none.
    """
    if scene.ref.reader != READER or not isinstance(scene.geometry, VolumeGeometry):
        raise WriteError(f"{product} a DICOM series", where=scene.ref.id, remedy=remedy)


def read_options(scene: SceneHeader) -> ReaderOptions:
    """The options that the scene was read with."""
    return ReaderOptions.parse(scene.attributes.get("options"))


def opened_series(scene: SceneHeader) -> OpenVolume:
    """The volume of a scene, as it was read; see `hdm_dicom.volumes.volume_io.open_volume` for the errors."""
    from hdm_dicom.volumes.volume_io import open_volume

    return open_volume(scene.ref, read_options(scene))
