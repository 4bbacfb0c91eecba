"""What highdicom takes for the source of a segmentation or a map, whatever the source really is.

highdicom knows sources of two kinds: single-frame images with a place, and one enhanced multi-frame file. A volume may
also be frames of several files, or of an X-ray run or an ultrasound loop, whose files are multi-frame without
functional groups, or have no place. So it is given a located single-frame image for each frame, and what it wrote of
these is put right afterwards: references lead to the real files and frames, and distances are those of the volume.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.dataset import Dataset
from pydicom.valuerep import DS

from hdm_dicom.derived.sources import instance_class, instance_uid
from hdm_dicom.files.attributes import datasets
from hdm_dicom.series.volume import Volume

_SINGLE_FRAME = "1.2.840.10008.5.1.4.1.1.2"
_UID = "1.2.3.{}"
_AXIAL = (1, 0, 0, 0, 1, 0)


def stand_ins(volume: Volume, header: Dataset) -> list[Dataset]:
    """A located single-frame image of one pixel for each frame of the volume.

    Args:
        volume: the stored slices.
        header: `hdm_dicom.derived.sources.source_header` of the volume; becomes the first of them.
    """
    if not volume.located:
        header.FrameOfReferenceUID = _UID.format(0)
    alike = Dataset()
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(alike, name, header.get(name))
    alike.Rows = alike.Columns = 1
    alike.SOPClassUID = _SINGLE_FRAME
    alike.ImageOrientationPatient = list(volume.cosines if volume.located else _AXIAL)
    alike.PixelSpacing = list(volume.spacing)
    alike.SliceThickness = volume.first.thickness or volume.step
    sources = [header, *(Dataset() for _ in volume.frames[1:])]
    for index, source in enumerate(sources):
        source.update(alike)  # elements that nobody changes: all share them
        source.SOPInstanceUID = _UID.format(index + 1)
        # Made-up places run downwards, which is the order of frames for highdicom.
        place = volume.positions[index] if volume.located else (0, 0, -index)
        source.ImagePositionPatient = [float(v) for v in place]
    return sources


def settle_references(dataset: Dataset, volume: Volume) -> list[int]:
    """Let a product refer to the real files and frames; gives the stored slice of each of its frames."""
    indices = {_UID.format(index + 1): index for index in range(len(volume.frames))}
    files = list(_files(volume))
    dataset.SourceImageSequence = files
    for series in datasets(dataset, "ReferencedSeriesSequence"):
        series.ReferencedInstanceSequence = files
    frames = datasets(dataset, "PerFrameFunctionalGroupsSequence")
    sources = [item.DerivationImageSequence[0].SourceImageSequence[0] for item in frames]
    # All are read before any is changed: frames of one slice may share the item.
    found = [indices[source.ReferencedSOPInstanceUID] for source in sources]
    for source, index in zip(sources, found, strict=True):
        frame = volume.frames[index]
        _refer(source, volume, index)
        if frame.instance.frames > 1:
            source.ReferencedFrameNumber = frame.index + 1
    return found


def _files(volume: Volume) -> Iterator[Dataset]:
    """An item for each file of the volume."""
    seen = set()
    for index, frame in enumerate(volume.frames):
        if frame.instance.path not in seen:
            seen.add(frame.instance.path)
            item = Dataset()
            _refer(item, volume, index)
            yield item


def _refer(item: Dataset, volume: Volume, index: int) -> None:
    instance = volume.frames[index].instance
    item.ReferencedSOPClassUID = instance_class(instance.sop_class)
    item.ReferencedSOPInstanceUID = instance_uid(instance.sop_instance)


def settle_measures(dataset: Dataset, volume: Volume, *, anew: bool = False) -> None:
    """What the frames say of thickness and distance: no more than is known.

    highdicom states a distance for a single slice, and none for slices that are even only within a tolerance; some
    readers then take the thickness for it. A single slice of unknown thickness has no measures at all, since they must
    state one (PS3.3 C.7.6.16.2.1): its pixels are as large as those that it refers to. Where there are several, the
    distance between them stands for it, which `source_header` states.

    Args:
        dataset: of the product.
        volume: all slices of the source.
        anew: highdicom was given only some of them: the distance that it states is not that of the volume.
    """
    for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in datasets(dataset, name):
            if len(volume.frames) == 1 and not volume.first.thickness:
                group.pop("PixelMeasuresSequence", None)
            for measures in group.get("PixelMeasuresSequence") or ():  # highdicom's cannot be compared with anything
                if len(volume.frames) == 1 or anew:
                    measures.pop("SpacingBetweenSlices", None)
                if len(volume.frames) > 1 and not volume.problems and "SpacingBetweenSlices" not in measures:
                    step = (volume.depths[-1] - volume.depths[0]) / (len(volume.frames) - 1)
                    measures.SpacingBetweenSlices = DS(float(step), auto_format=True)
