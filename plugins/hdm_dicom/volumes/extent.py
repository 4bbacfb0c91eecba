"""How large a voxel is, and what is to be said of it: only what the files state, or the user vouches for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hdm_dicom.files.spacing import AT_DETECTOR, IN_REGION, ON_FILM, counts
from hdm_dicom.options import ReaderOptions
from hdm_dicom.series.regularity import note
from hdm_dicom.series.volume import Volume
from hdm_dicom.volumes.stack import Stack
from hdm_pipeline.contracts import SceneWarning
from hdm_pipeline.errors import UnsupportedSceneError

ASSUMED = "assumed"
"""Stands for the attribute that states the spacing, where the user does."""

_HOW = {
    AT_DETECTOR: (
        "detector_spacing",
        "pixel spacing is that at the detector (ImagerPixelSpacing): areas are those of the shadow, which is larger"
        " than what cast it",
    ),
    ON_FILM: ("film_spacing", "pixel spacing is that on the film that was scanned (NominalScannedPixelSpacing)"),
    IN_REGION: ("region_spacing", "pixel spacing is that of the ultrasound region; outside of it there is none"),
}


def with_spacing(volume: Volume, options: ReaderOptions) -> Volume:
    """The volume, with the spacing that the user assumes where its files state none.

    Raises:
        UnsupportedSceneError: the volume lies in the patient, and how large a pixel is there is not known.
    """
    unknown = next((frame for frame in volume.frames if not counts(frame)), None)
    if unknown is None:
        return volume
    assumed = options.assume.pixel_spacing
    if assumed is not None:
        frames = [f if counts(f) else replace(f, spacing=assumed, spacing_from=ASSUMED) for f in volume.frames]
        return replace(volume, frames=tuple(frames))
    if not volume.located:
        return volume
    what = unknown.spacing_fault or (
        f"no PixelSpacing, only {unknown.spacing_from}" if unknown.spacing_from else "no PixelSpacing"
    )
    raise UnsupportedSceneError(
        f"{what}: it is not known how large a pixel is in the patient",
        where=volume.id,
        remedy="repair the series; or, if you know the spacing, set input.options.assume:"
        " {pixel_spacing: [ROW_MM, COLUMN_MM]}",
    )


def measured(volume: Volume) -> bool:
    """The extent of a voxel is known along all three axes, so that volumes can be measured."""
    known = len(volume.frames) > 1 or volume.first.thickness > 0
    return volume.located and known and not volume.first.instance.projection


def told(volume: Volume, stack: Stack, options: ReaderOptions) -> Iterator[str | SceneWarning]:
    """What the user should know of places and sizes."""
    first = volume.first
    if not volume.located:
        fault = first.instance.place_fault
        what = "products say nothing of places, and no volume is measured"
        if fault:
            lost = f"no position in the patient ({fault}): {what}"
            yield SceneWarning(
                "lost_place", lost, "export the series again, with the place of its images, if it has one"
            )
        else:
            yield f"no position in the patient: {what}"
        if options.plane != "acquired":
            yield f"without a position there is no {options.plane} plane: the images are read as they are stored"
    assumed = sum(frame.spacing_from == ASSUMED for frame in volume.frames)
    if assumed:
        row_mm, column_mm = volume.spacing
        some = "" if assumed == len(volume.frames) else f" of {assumed} of {len(volume.frames)} images"
        what = f"no pixel spacing{some}: {row_mm:g} x {column_mm:g} mm are assumed (input.options.assume)"
        yield SceneWarning("assumed_spacing", what, "check it against the device", suspect=False)
    elif first.spacing is None:
        why = f" ({first.spacing_fault})" if first.spacing_fault else ""
        yield f"no pixel spacing{why}: no area is measured"
    elif first.spacing_from in _HOW:
        kind, what = _HOW[first.spacing_from]
        yield SceneWarning(kind, what, suspect=False)
    if volume.located and len(volume.frames) == 1:
        if first.thickness:
            yield f"one slice only: its thickness of {volume.step:g} mm counts as spacing"
        else:
            yield "one slice only, of unknown thickness: no volume is measured, and 1 mm in a NIfTI means nothing"
    elif volume.located and not measured(volume):
        yield "projections, not slices: no volume is measured"
    if volume.located and not volume.problems and (uneven := note(volume.frames, options.tolerance)):
        yield SceneWarning("uneven_slices", uneven, suspect=False)
    if stack.depths is not None:
        what = (
            f"resampled: products that refer to images (segmentation) lie on the {len(volume.frames)} stored slices,"
            f" the figures and products of an even grid (nifti) on {stack.size[2]} slices of {volume.step:.4g} mm, so"
            " that their numbers of voxels differ"
        )
        yield SceneWarning("two_grids", what, suspect=False)
