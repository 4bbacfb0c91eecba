"""Frames of an image from its header: of a plain file, and of the functional groups of an enhanced one."""

from __future__ import annotations

from dataclasses import replace

from pydicom.dataset import Dataset

from hdm_dicom.files.attributes import numbers, text, values
from hdm_dicom.files.instances import Frame, Instance
from hdm_dicom.files.spacing import pixel_spacing, thickness
from hdm_dicom.files.stored_values import has_lut, rescale_of, unit_of
from hdm_dicom.files.telling import dimension_names, frame_keys, image_keys

_LEAST_CROSS = 1e-6
"""Square of the sine between rows and columns below which they have one direction."""

_SQUARE = 0.01
"""Cosine of the angle between rows and columns that rounding may leave; of more, the normal is not known."""


def plain_frame(dataset: Dataset, instance: Instance) -> Frame:
    """The first frame of a file, as the data set itself describes it."""
    position = numbers(dataset, "ImagePositionPatient", 3)
    spacing = pixel_spacing(dataset, located=position is not None)
    slope, intercept = rescale_of(dataset)
    lut = has_lut(dataset)
    orientation = numbers(dataset, "ImageOrientationPatient", 6)
    return Frame(
        instance=_placed(_oriented(instance, orientation), position, orientation),
        index=0,
        position=None if orientation is None else position,  # type: ignore[arg-type]
        orientation=orientation,  # type: ignore[arg-type]
        spacing=spacing.value,
        thickness=thickness(dataset),
        slope=1.0 if slope is None else slope,
        intercept=intercept or 0.0,
        rescaled=(slope is not None and intercept is not None) or lut,
        lut=lut,
        unit=unit_of(dataset, dataset, instance.modality),
        keys=image_keys(dataset, instance.image_type),
        spacing_from=spacing.source,
        spacing_fault=spacing.fault,
    )


def _oriented(instance: Instance, orientation: tuple[float, ...] | None) -> Instance:
    """The instance, with a fault if its rows and columns have no direction."""
    what = "" if orientation is None or instance.fault else _wrong_with(orientation)
    if not what:
        return instance
    remedy = "set ImageOrientationPatient, or remove it and ImagePositionPatient if the place is not known"
    return replace(instance, fault=f"the orientation of the image in the patient {what}", remedy=remedy)


def _placed(instance: Instance, position: tuple[float, ...] | None, orientation: tuple[float, ...] | None) -> Instance:
    """The instance, which says so if it states a position alone: a place is both, and no direction is made up."""
    if position is None or orientation is not None:
        return instance
    return replace(instance, place_fault="ImagePositionPatient without ImageOrientationPatient")


def _wrong_with(cosines: tuple[float, ...]) -> str:
    """Why an orientation is none; empty if it is one."""
    ax, ay, az, bx, by, bz = cosines
    if not any(cosines):
        return "is all zero"
    cross = (ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx)
    lengths = (ax * ax + ay * ay + az * az) * (bx * bx + by * by + bz * bz)
    if sum(c * c for c in cross) <= _LEAST_CROSS * lengths:
        return "gives rows and columns no two directions"
    along = ax * bx + ay * by + az * bz
    return "has no right angle between rows and columns" if along * along > _SQUARE**2 * lengths else ""


def functional_frames(dataset: Dataset, instance: Instance) -> list[Frame]:
    """Frames of an enhanced multi-frame object: each attribute per frame, or shared by all (PS3.3 C.7.6.16).

    What the groups leave out counts as the file states it as a whole, but for a position, which is that of one frame.
    """
    items = [i for i in values(dataset, "PerFrameFunctionalGroupsSequence") if isinstance(i, Dataset)]
    shared = [i for i in values(dataset, "SharedFunctionalGroupsSequence") if isinstance(i, Dataset)][:1]
    if not items:  # what is said of all frames counts, and nothing is said of one
        items = [Dataset()] * instance.frames
    if len(items) != instance.frames:
        fault = f"NumberOfFrames is {instance.frames}, but the number of those described is {len(items)}"
        return [plain_frame(dataset, replace(instance, fault=fault))]
    base = replace(plain_frame(dataset, instance), instance=instance)
    dimensions = dimension_names(dataset)

    def one(item: Dataset, index: int) -> Frame:
        def group(name: str) -> Dataset:
            for level in (item, *shared):
                found = values(level, name)
                if found and isinstance(found[0], Dataset):
                    return found[0]
            return Dataset()

        measures, rescale = group("PixelMeasuresSequence"), group("PixelValueTransformationSequence")
        spacing = pixel_spacing(measures)
        if not spacing.source:  # enhanced X-ray angiography states it here, at the detector
            spacing = pixel_spacing(group("FramePixelDataPropertiesSequence"))
        slope, intercept = rescale_of(rescale)
        position = numbers(group("PlanePositionSequence"), "ImagePositionPatient", 3)
        orientation = numbers(group("PlaneOrientationSequence"), "ImageOrientationPatient", 6) or base.orientation
        if position is None and instance.frames == 1:
            position = base.position
        return Frame(
            instance=_placed(instance, position, orientation),
            index=index,
            position=None if orientation is None else position,  # type: ignore[arg-type]
            orientation=orientation,  # type: ignore[arg-type]
            spacing=spacing.value or base.spacing,
            thickness=thickness(measures) or base.thickness,
            slope=base.slope if slope is None else slope,
            intercept=base.intercept if intercept is None else intercept,
            rescaled=(slope is not None and intercept is not None) or base.rescaled,
            lut=base.lut,
            unit=unit_of(dataset, rescale, instance.modality) if text(rescale, "RescaleType") else base.unit,
            keys=frame_keys(base.keys, group, dimensions),
            spacing_from=spacing.source or base.spacing_from,
            spacing_fault=pixel_spacing(measures).fault or base.spacing_fault,
        )

    return all_oriented([one(item, index) for index, item in enumerate(items)])


def all_oriented(frames: list[Frame]) -> list[Frame]:
    """The frames of a file; all of them share the fault of one, and one instance."""
    instance = next((frame.instance for frame in frames if frame.instance.place_fault), frames[0].instance)
    faulty = next((f for f in frames if _oriented(instance, f.orientation) is not instance), None)
    if faulty is not None:
        instance = _oriented(instance, faulty.orientation)
    return [frame if frame.instance is instance else replace(frame, instance=instance) for frame in frames]
