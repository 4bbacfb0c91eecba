"""Phases that lack slices: told apart where time and place leave no doubt, and never mixed."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from hdm_dicom.files.instances import Frame
from hdm_dicom.options import ReaderOptions
from hdm_dicom.series.grouping import volumes
from hdm_dicom.series.volume import Volume
from hdm_dicom.volumes.volume_io import checked
from hdm_pipeline.errors import UnsupportedSceneError
from tests.unit.dicom.test_grouping import PHASES, SLICES, phases, slice_by_slice, trigger
from tests.unit.dicom.test_series import frames_of

Change = Callable[[Dataset, int, int], None]


def rising(dataset: Dataset, index: int, phase: int) -> None:
    """As a scanner moves through the patient, with a pause between phases."""
    dataset.AcquisitionTime = f"10{phase:02d}{index:02d}"


def without_pause(dataset: Dataset, index: int, phase: int) -> None:
    seconds = SLICES * phase + index
    dataset.AcquisitionDateTime = f"202001022359{seconds + 30:02d}.125"


def numbered(dataset: Dataset, index: int, phase: int) -> None:
    dataset.InstanceNumber = SLICES * phase + index + 1
    del dataset.StudyTime, dataset.ContentTime


def phase_of(frame: Frame) -> int:
    return int(frame.instance.sop_instance.split(".")[2])


def number_of(frame: Frame) -> int:
    return int(frame.instance.sop_instance.split(".")[3])


def mixed(found: list[Volume]) -> bool:
    """A volume that would be read holds images of several phases."""
    return any(not v.crowded and len({phase_of(frame) for frame in v.frames}) > 1 for v in found)


@pytest.mark.parametrize("change", [rising, slice_by_slice, without_pause, numbered, trigger])
def test_no_phase_takes_a_slice_of_another_whichever_are_missing(tmp_path: Path, change: Change) -> None:
    phases(tmp_path, change)
    frames = frames_of(tmp_path)
    assert len(frames) == PHASES * SLICES
    apart = 0
    for lost in [*combinations(range(len(frames)), 1), *combinations(range(0, len(frames), 2), 2)]:
        found = volumes([frame for i, frame in enumerate(frames) if i not in lost], "split")
        assert not mixed(found)
        apart += not any(volume.crowded for volume in found)
        assert sum(len(volume.frames) for volume in found) == len(frames) - len(lost)
    assert apart >= 80


@pytest.mark.parametrize("change", [rising, slice_by_slice, without_pause, numbered])
@pytest.mark.parametrize("kept", [(0, 3), (3, SLICES)])
@pytest.mark.parametrize("phase", [0, PHASES - 1])
def test_a_phase_that_ended_early_or_began_late_is_one_of_its_own(
    tmp_path: Path, change: Change, kept: tuple[int, int], phase: int
) -> None:
    phases(tmp_path, change)
    frames = [f for f in frames_of(tmp_path) if phase_of(f) != phase or kept[0] <= number_of(f) < kept[1]]
    found = volumes(frames, "split")
    assert not mixed(found)
    if change is not slice_by_slice:  # half of its slices leave two runs
        assert sorted(len(volume.frames) for volume in found) == [3, 6, 6, 6]
        by = "InstanceNumber" if change is numbered else "AcquisitionTime"
        assert all(f"split into 4 volumes by {by}" in " ".join(volume.notes) for volume in found)


def test_a_pause_within_a_phase_leaves_doubt(tmp_path: Path) -> None:
    """The first slice of a phase fills the place that the one before lacks, and the longest pause comes after it."""

    def change(dataset: Dataset, index: int, phase: int) -> None:
        dataset.AcquisitionTime = f"1010{SLICES * phase + index + (9 if phase and index else 0):02d}"

    phases(tmp_path, change)
    frames = [f for f in frames_of(tmp_path) if phase_of(f) < 2 and (phase_of(f), number_of(f)) != (0, 0)]
    (volume,) = volumes(frames, "split")
    assert volume.crowded


def test_orders_that_disagree_tell_nothing(tmp_path: Path) -> None:
    def change(dataset: Dataset, index: int, phase: int) -> None:
        dataset.InstanceNumber = 10 * index + (phase if index % 2 else -phase)
        dataset.AcquisitionTime = f"10{index:02d}{10 * phase:02d}"

    phases(tmp_path, change)
    (volume,) = volumes(frames_of(tmp_path), "split")
    assert volume.crowded


def test_a_series_that_lacks_a_slice_of_a_phase_says_so_and_what_helps(tmp_path: Path) -> None:
    phases(tmp_path, rising)
    frames = [f for f in frames_of(tmp_path) if (phase_of(f), number_of(f)) != (1, 2)]
    (volume,) = volumes(frames, "strict")
    with pytest.raises(
        UnsupportedSceneError, match="4 different images lie at one place, but fewer at 1 of 6"
    ) as caught:
        checked(volume, ReaderOptions())
    assert "in time" in caught.value.remedy
    found = volumes(frames, "split")
    assert sorted(len(part.frames) for part in found) == [2, 3, 6, 6, 6]
    assert not mixed(found)
    for part in found:
        checked(part, ReaderOptions(policy="split"))
