"""An open DICOM volume, and what is known of it without reading pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hdm_dicom.files.stored_values import mirrored
from hdm_dicom.files.uids import digest
from hdm_dicom.options import ReaderOptions
from hdm_dicom.volumes.extent import told
from hdm_dicom.volumes.reduced import means
from hdm_dicom.volumes.volume_io import OpenVolume, SliceReader, open_volume
from hdm_pipeline.contracts import Band, SceneHeader, SceneRef, SceneWarning, VolumeGeometry
from hdm_pipeline.errors import UnsupportedSceneError
from hdm_pipeline.grid import Window

_SAMPLED_SLICES = 12
_NEIGHBOR_NAMES = ("below", "slice", "above")
_COLORS = ("red", "green", "blue")


class DicomSource:
    """An open volume in one plane (`hdm_pipeline.contracts.OverviewSource`). One thread at a time.

    Headers are read once a process, whoever opens the volume. Open, it holds the slice that was read last (with
    `neighbors`, three), the two stored images that it was made of, and no file. Only a plane across the stored slices
    has a file: one of the temporary folder, as large as the volume, that all sources of the last such scene share.

    Args:
        ref: of the volume.
        options: how it is read.
    """

    def __init__(self, ref: SceneRef, options: ReaderOptions) -> None:
        self._opened = open_volume(ref, options)
        self._slices = SliceReader(ref, options)
        self._neighbors = options.neighbors
        self.header = read_header(ref, options)

    def read(self, window: Window, bands: Sequence[int]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Pixels [len(bands), height, width] in the units of the series, 0 where invalid, and validity."""
        pixels = np.stack([self._band(window, band) for band in bands])
        valid = np.asarray(np.isfinite(pixels).all(axis=0))
        pixels[:, ~valid] = 0
        return pixels, valid

    def read_reduced(
        self, window: Window, bands: Sequence[int], size: tuple[int, int]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Means of valid pixels, [len(bands), *size], and validity [*size]; a slice that was read last is held."""
        return means(*self.read(window, bands), size)

    def _band(self, window: Window, band: int) -> npt.NDArray[np.float32]:
        z = window.z
        if self._neighbors:
            # At the ends of the volume the outermost slice stands in for its missing neighbour.
            z = min(max(z + band - self._neighbors, 0), self._opened.size[2] - 1)
            band = 0
        image = self._slices.read(z)[band]
        return np.asarray(image[window.y : window.bottom, window.x : window.right])

    def sample(self, bands: Sequence[int], max_pixels: int) -> npt.NDArray[np.float32]:
        """Valid pixels of up to a dozen evenly spaced slices, evenly spaced in each: [len(bands), n]."""
        width, height, depth = self._opened.size
        count = min(depth, _SAMPLED_SLICES)
        stride = max(1, int(np.ceil(np.sqrt(count * height * width / max(max_pixels, 1)))))
        found = []
        for z in np.linspace(0, depth - 1, count).round().astype(int):
            pixels, valid = self.read(Window(z=int(z), y=0, x=0, height=height, width=width), bands)
            found.append(pixels[:, ::stride, ::stride][:, valid[::stride, ::stride]])
        return np.concatenate(found, axis=1)[:, :max_pixels]

    def row_areas(self) -> npt.NDArray[np.float64] | None:
        """Area of a pixel in m², alike in all rows of the scene: [y]; None where the pixel spacing is unknown."""
        spacing = self._opened.pixel_spacing
        return None if spacing is None else np.full(self.header.shape[2], spacing[0] * spacing[1] * 1e-6)


def read_header(ref: SceneRef, options: ReaderOptions) -> SceneHeader:
    """Shape, geometry and warnings of a volume.

    Raises:
        ReadError: see `hdm_dicom.volumes.volume_io.open_volume`.
        UnsupportedSceneError: see there; or neighbouring slices of a colour series are asked for.
    """
    opened = open_volume(ref, options)
    instance = opened.volume.first.instance
    if options.neighbors and opened.bands > 1:
        raise UnsupportedSceneError(
            "neighbouring slices as bands of a colour series", where=ref.id, remedy="set input.options.neighbors to 0"
        )
    if opened.bands == 3:
        bands = tuple(Band(name) for name in _COLORS)
    elif options.neighbors:
        bands = tuple(Band(name, opened.quantities.conversion.unit) for name in _NEIGHBOR_NAMES)
    else:
        bands = (Band(instance.modality, opened.quantities.conversion.unit),)
    x, y, z = opened.size
    frame_of_reference = digest("frame of reference", instance.frame_of_reference)[:16]
    return SceneHeader(
        ref=ref,
        shape=(len(bands), z, y, x),
        dtype=f"{'int' if instance.signed else 'uint'}{instance.bits_allocated}",
        bands=bands,
        geometry=VolumeGeometry(
            affine=tuple(float(v) for v in opened.affine.ravel()),
            frame_of_reference=frame_of_reference if instance.frame_of_reference else "",
            located=opened.volume.located,
            measured=opened.measured,
        ),
        chunk=(y, x),
        warnings=_warnings(opened, options),
        attributes={
            "modality": instance.modality,
            "pixel_spacing": opened.pixel_spacing,
            "pixel_spacing_from": opened.volume.first.spacing_from,
            "options": options.as_dict(),
            "shared_uids": opened.volume.shared,
        },
    )


def _warnings(opened: OpenVolume, options: ReaderOptions) -> tuple[str | SceneWarning, ...]:
    volume = opened.volume
    first = volume.first
    found: list[str | SceneWarning] = list(volume.notes)
    if volume.shared:
        found.append(
            SceneWarning(
                "shared_uid",
                f"{volume.shared} images share their SOP instance UID with other images; all of them count",
                "give each image a UID of its own: a PACS would keep one of them only",
            )
        )
    if volume.unplaced:
        total = volume.unplaced + len(volume.frames)
        found.append(
            SceneWarning(
                "unplaced_slices",
                f"{volume.unplaced} of {total} images of the series state no place: they are no part of this volume",
                "look whether slices of it lost their ImagePositionPatient, and export the series again",
            )
        )
    turned = sum(map(mirrored, volume.frames))
    if 0 < turned < len(volume.frames):
        found.append(
            SceneWarning(
                "mixed_photometric",
                f"{turned} of {len(volume.frames)} images are MONOCHROME1 and turned over, the others are not",
                "look whether all slices have the same gray values, and correct PhotometricInterpretation if not",
            )
        )
    found += [f"{options.policy}: {problem}" for problem in volume.problems]
    found += told(volume, opened.stack, options)
    found += opened.quantities.warnings
    if not first.instance.sop_class:
        found.append("no SOP class UID")
    return tuple(found)
