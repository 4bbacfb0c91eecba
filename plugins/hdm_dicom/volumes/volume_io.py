"""An open volume: from a reference to slices in the plane asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from hdm_dicom.archive.references import reference, reload
from hdm_dicom.files.instances import Frame
from hdm_dicom.options import ReaderOptions
from hdm_dicom.series.volume import Volume
from hdm_dicom.volumes.extent import measured, with_spacing
from hdm_dicom.volumes.pixels import FrameReader, check_frame
from hdm_dicom.volumes.quantities import Quantities, quantities_of
from hdm_dicom.volumes.stack import Image, Stack, View, stack_of, view_of
from hdm_dicom.volumes.transposed_file import TransposedFile
from hdm_pipeline.contracts import SceneRef
from hdm_pipeline.errors import ReadError, UnsupportedSceneError

_OPEN_VOLUMES = 16
_FLOAT_BYTES = 4


@dataclass(frozen=True, eq=False)
class OpenVolume:
    """A volume, its regular stack, and the view of it.

    Attributes:
        volume: the stored slices.
        stack: regular, in the acquired plane.
        view: from the stack to the plane asked for.
        quantities: what the pixel values are.
    """

    volume: Volume
    stack: Stack
    view: View
    quantities: Quantities

    @property
    def size(self) -> tuple[int, int, int]:
        """(x, y, z) of the view."""
        return self.view.size(self.stack.size)

    @property
    def affine(self) -> npt.NDArray[np.float64]:
        """[4, 4] from voxel indices (x, y, z) of the view to LPS millimetres."""
        return self.stack.affine @ self.view.matrix(self.stack.size)

    @property
    def measured(self) -> bool:
        """The extent of a voxel is known along all three axes."""
        return measured(self.volume)

    @property
    def pixel_spacing(self) -> tuple[float, float] | None:
        """mm between the rows, and between the columns, of an image of the view; None if unknown."""
        if self.volume.first.spacing is None:
            return None
        column_mm, row_mm = (float(np.linalg.norm(self.affine[:3, axis])) for axis in (0, 1))
        return row_mm, column_mm

    @property
    def bands(self) -> int:
        """1, or 3 for colour."""
        instance = self.volume.first.instance
        return 3 if instance.samples == 3 or instance.photometric == "PALETTE COLOR" else 1


@lru_cache(maxsize=_OPEN_VOLUMES)
def open_volume(ref: SceneRef, options: ReaderOptions) -> OpenVolume:
    """The checked volume of a reference; headers are read once a process.

    Raises:
        ReadError: members are gone, changed, broken or of two patients.
        UnsupportedSceneError: too large, a mosaic, irregular under the policy ``strict``, or of unknown pixel spacing.
    """
    volume = reload(ref, options.tolerance)
    if volume is None or reference(volume).identity != ref.identity:
        raise ReadError(
            "files of the series are gone or have changed since they were found",
            where=ref.id,
            remedy="run again once nothing writes to the folder",
        )
    return checked(volume, options)


def checked(volume: Volume, options: ReaderOptions) -> OpenVolume:
    """The volume with its stack and view, or the error that says why it is not read."""
    where = volume.id
    _check_identity(volume, where)
    _check_size(volume, options, where)
    if volume.problems and (options.policy == "strict" or volume.crowded):
        raise UnsupportedSceneError(
            "; ".join(volume.problems),
            where=where,
            remedy=_remedy(volume, options),
        )
    volume = with_spacing(volume, options)
    stack = stack_of(volume, options)
    # Without a place there is no anatomical plane: frames that follow each other in time are no third axis.
    view = view_of(options.plane if volume.located else "acquired", stack.affine)
    return OpenVolume(volume, stack, view, quantities_of(volume, options))


def _remedy(volume: Volume, options: ReaderOptions) -> str:
    """What helps against an irregular series, and is not set already."""
    if volume.crowded:
        repair = "remove the images that do not belong to the series, or give each volume a series UID of its own"
        if options.policy == "split":
            return repair
        return (
            f"{repair}; or set input.options.policy to `split`: images go to volumes by the order in time that"
            " they state (acquisition time, trigger time and the like), else by instance number, if there is no doubt"
        )
    return "set input.options.policy to `split` or `resample`, or repair the series"


def _check_identity(volume: Volume, where: str) -> None:
    instances = [frame.instance for frame in volume.frames]
    for number, instance in enumerate(instances):
        if instance.unsupported:
            raise UnsupportedSceneError(instance.fault, where=f"{where}, slice {number}", remedy=instance.remedy)
        if instance.fault:
            remedy = instance.remedy or "correct the header, or export the file again"
            raise ReadError(f"bad header: {instance.fault}", where=f"{where}, slice {number}", remedy=remedy)
        if "MOSAIC" in instance.image_type:
            raise UnsupportedSceneError(
                "a Siemens mosaic: many slices tiled into one image",
                where=where,
                remedy="convert it to enhanced multi-frame or to one file a slice (dcm2niix reads mosaics)",
            )
    _check_one([i.patient for i in instances], "patient", "patients", "PatientID", where)
    _check_one([i.study for i in instances], "study", "studies", "StudyInstanceUID", where)
    frames = [i.frame_of_reference for i in instances]
    _check_one(frames, "frame of reference", "frames of reference", "FrameOfReferenceUID", where)


def _check_one(stated: list[str], one: str, several: str, attribute: str, where: str) -> None:
    """Refuse slices of several patients and the like, and those of which some do not state whose they are."""
    known = {name for name in stated if name}
    if len(known) > 1:
        raise ReadError(
            f"slices of {len(known)} {several} share one series UID",
            where=where,
            remedy="separate them: a product across them would be filed, or placed, under the wrong one",
        )
    if known and not all(stated):
        raise ReadError(
            f"{stated.count('')} of {len(stated)} slices state no {one} ({attribute}), and the others do",
            where=where,
            remedy=f"set {attribute} if they belong together, or separate them",
        )


def _check_size(volume: Volume, options: ReaderOptions, where: str) -> None:
    if len(volume.frames) > options.max_frames:
        raise UnsupportedSceneError(
            f"{len(volume.frames)} images in one volume are more than {options.max_frames}",
            where=where,
            remedy="raise input.options.max_frames if the files are to be trusted",
        )
    seen: set[str] = set()
    for number, frame in enumerate(volume.frames):
        if frame.instance.path not in seen:
            seen.add(frame.instance.path)
            check_frame(frame.instance, options.max_frame_pixels, f"{where}, slice {number}")
    instance = volume.first.instance
    needed = len(volume.frames) * instance.rows * instance.columns * instance.samples * _FLOAT_BYTES
    if needed > options.max_volume_bytes:
        raise UnsupportedSceneError(
            f"the volume decodes to {needed} bytes, more than {options.max_volume_bytes}",
            where=where,
            remedy="raise input.options.max_volume_bytes if the files are to be trusted",
        )


class SliceReader:
    """Slices of a view, decoded on demand; keeps a few. One thread at a time.

    Args:
        ref: of the volume.
        options: how it is read.
    """

    def __init__(self, ref: SceneRef, options: ReaderOptions) -> None:
        self._ref = ref
        self._options = options
        self._opened = open_volume(ref, options)
        self._frames = FrameReader(ref.id, options.max_frame_pixels, self._opened.quantities.conversion)
        self._stored = lru_cache(maxsize=2)(self._read_stored)
        self.read = lru_cache(maxsize=2 * options.neighbors + 1)(self._read)

    def _read(self, z: int) -> Image:
        """Slice z of the view: [bands, y, x], NaN where invalid."""
        view = self._opened.view
        index = self._opened.size[2] - 1 - z if view.flips[2] else z
        axis = view.axes[2]
        # One voxel thick along the axis that the view goes through.
        if view.along_slices:
            stack = self._opened.stack.read(index, self._stored)[:, np.newaxis]
        else:
            lines = _turned(self._ref, self._options, axis).take(index).transpose(1, 0, 2)
            stack = lines[..., np.newaxis] if axis == 0 else lines[:, :, np.newaxis]
        plane: Image = view.apply(stack)[:, 0]  # type: ignore[assignment]
        return plane if view.along_slices else np.ascontiguousarray(plane)

    def _read_stored(self, index: int) -> Image:
        frame: Frame = self._opened.volume.frames[index]
        return self._frames.read(frame, index)


@lru_cache(maxsize=1)
def _turned(ref: SceneRef, options: ReaderOptions, axis: int) -> TransposedFile:
    """The last scene's stack, turned on disk: the blocks of a scene come one after the other, each opening it anew."""
    opened = open_volume(ref, options)
    frames = FrameReader(ref.id, options.max_frame_pixels, opened.quantities.conversion)
    stored = lru_cache(maxsize=2)(lambda index: frames.read(opened.volume.frames[index], index))
    x, y, z = opened.stack.size
    planes, length = (x, y) if axis == 0 else (y, x)
    try:
        turned = TransposedFile(z, planes, (opened.bands, length), np.float32)
        for index in range(z):
            image = opened.stack.read(index, stored)
            turned.put(image.transpose(2, 0, 1) if axis == 0 else image.transpose(1, 0, 2))
    except OSError as error:
        raise ReadError(
            f"the volume cannot be turned on disk ({type(error).__name__})",
            where=ref.id,
            remedy="free space in the temporary folder (TMPDIR), or read the acquired plane",
        ) from None
    return turned
