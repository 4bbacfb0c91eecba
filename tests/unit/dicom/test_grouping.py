"""Which images of a series belong together: copies, phases, stacks, and runs of an uneven stack."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian, JPEG2000Lossless

from hdm_dicom.series.grouping import volumes
from hdm_dicom.series.volume import Volume
from tests.dicom_multiframe import write_enhanced, write_tomogram
from tests.dicom_series import write_series
from tests.unit.dicom.test_series import frames_of, one


def groups(folder: Path, policy: str = "strict") -> list[Volume]:
    """Volumes, the largest and lowest first; the same whatever the order of the files."""
    frames = frames_of(folder)
    found = volumes(frames, policy)  # type: ignore[arg-type]
    for seed in (1, 2):
        shuffled = list(frames)
        random.Random(seed).shuffle(shuffled)
        again = volumes(shuffled, policy)  # type: ignore[arg-type]
        assert [v.id for v in again] == [v.id for v in found]
        assert [[f.instance.path for f in v.frames] for v in again] == [
            [f.instance.path for f in v.frames] for v in found
        ]
    assert len({volume.id for volume in found}) == len(found)
    return sorted(found, key=lambda v: (-len(v.frames), v.depths[0] if len(v.frames) else 0))


def uids(prefix: str) -> Callable[[Dataset, int], None]:
    def change(dataset: Dataset, index: int) -> None:
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.{prefix}.{index}"

    return change


def one_uid(dataset: Dataset, index: int) -> None:
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"


def test_different_slices_under_one_uid_all_count(tmp_path: Path) -> None:
    write_series(tmp_path, [2.0 * i for i in range(12)], change=one_uid)
    volume = one(tmp_path)
    assert len(volume.frames) == volume.shared == 12
    assert volume.problems == ()
    assert volume.step == pytest.approx(2)


def test_other_pixels_at_one_place_are_no_copy(tmp_path: Path) -> None:
    write_series(tmp_path / "a", change=one_uid)
    write_series(tmp_path / "b", change=one_uid, pixels=lambda index: np.full((24, 32), 7 * index, np.uint16))
    volume = one(tmp_path)
    assert len(volume.frames) == 10
    assert "2 different images lie at one place" in volume.problems[0]


def test_many_images_of_one_uid_and_place_are_told_from_their_copies(tmp_path: Path) -> None:
    for number in range(12):
        for copy in "ab":
            pixels = np.full((24, 32), number, np.uint16)
            write_series(tmp_path / f"{number}{copy}", [0.0], change=one_uid, pixels=lambda _, p=pixels: p)  # type: ignore[misc]
    volume = one(tmp_path)
    assert len(volume.frames) == volume.shared == 12
    assert "12 copies of images" in volume.notes[0]


def test_a_copy_may_be_padded_or_have_an_implicit_header(tmp_path: Path) -> None:
    def padded(dataset: Dataset, index: int) -> None:
        dataset.PixelData += b"\0" * 128

    def implicit(dataset: Dataset, index: int) -> None:
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian

    write_series(tmp_path / "a")
    write_series(tmp_path / "b", change=padded)
    write_series(tmp_path / "c", change=implicit)
    assert len(one(tmp_path).frames) == 5


def test_one_copy_is_told_as_one(tmp_path: Path) -> None:
    write_series(tmp_path / "a")
    write_series(tmp_path / "b", [0.0])
    (note,) = one(tmp_path).notes
    assert note.startswith("1 copy of an image ignored")


def test_a_copy_may_be_compressed(tmp_path: Path) -> None:
    def noise(index: int) -> np.ndarray:
        return np.random.default_rng(index).integers(0, 4000, (64, 64)).astype(np.uint16)

    def compress(dataset: Dataset, index: int) -> None:
        instance = dataset.SOPInstanceUID
        dataset.compress(JPEG2000Lossless, generate_instance_uid=False)  # type: ignore[attr-defined]
        assert dataset.SOPInstanceUID == instance

    write_series(tmp_path / "a", pixels=noise)
    write_series(tmp_path / "b", pixels=noise, change=compress)
    volume = one(tmp_path)
    assert len(volume.frames) == 5
    assert volume.shared == 0
    assert "5 copies of images" in volume.notes[0]


def test_a_copy_of_another_patient_is_kept(tmp_path: Path) -> None:
    def other(dataset: Dataset, index: int) -> None:
        dataset.PatientID = "P2"

    write_series(tmp_path / "a")
    write_series(tmp_path / "b", change=other)
    assert len(one(tmp_path).frames) == 10


@pytest.mark.parametrize("second", [(0.0, 2.0, 4.0, 6.0, 8.0), (10.0, 12.0, 14.0, 16.0, 18.0)])
def test_modalities_under_one_series_are_volumes_of_their_own(tmp_path: Path, second: tuple[float, ...]) -> None:
    """Whether they lie on each other or one after the other: values of two modalities are no one scale."""

    def pet(dataset: Dataset, index: int) -> None:
        uids("pet")(dataset, index)
        dataset.Modality = "PT"

    write_series(tmp_path / "ct")
    write_series(tmp_path / "pet", second, change=pet)
    found = groups(tmp_path)
    assert [len(volume.frames) for volume in found] == [5, 5]
    assert {frozenset(f.instance.modality for f in volume.frames) for volume in found} == {
        frozenset({"CT"}),
        frozenset({"PT"}),
    }
    assert all("told apart by modality" in " ".join(volume.notes) for volume in found)


def test_a_slice_that_states_no_modality_stays_with_the_others(tmp_path: Path) -> None:
    def change(dataset: Dataset, index: int) -> None:
        dataset.Modality = "CT" if index else ""

    write_series(tmp_path, change=change)
    (volume,) = groups(tmp_path)
    assert len(volume.frames) == 5


def test_what_is_said_of_all_frames_counts_where_nothing_is_said_of_one(tmp_path: Path) -> None:
    def change(dataset: Dataset) -> None:
        del dataset.PerFrameFunctionalGroupsSequence
        values = Dataset()
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 2, -1024, "HU"
        dataset.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence = [values]

    write_enhanced(tmp_path / "file", [0.0, 2.0], change_file=change)
    (volume,) = groups(tmp_path)
    assert {(f.spacing, f.slope, f.intercept, f.position) for f in volume.frames} == {((0.5, 0.75), 2.0, -1024.0, None)}


def test_images_without_a_place_that_share_a_uid_are_kept(tmp_path: Path) -> None:
    def unplaced(dataset: Dataset, index: int) -> None:
        one_uid(dataset, index)
        del dataset.ImagePositionPatient

    write_series(tmp_path, change=unplaced)
    found = volumes(frames_of(tmp_path), "strict")
    assert [len(volume.frames) for volume in found] == [1] * 5
    assert len({volume.id for volume in found}) == 5


PHASES = 4
SLICES = 6


def phases(folder: Path, change: Callable[[Dataset, int, int], None]) -> None:
    """Four phases of six slices, in one series, with the same instance numbers in each."""
    for phase in range(PHASES):

        def of_phase(dataset: Dataset, index: int, phase: int = phase) -> None:
            uids(str(phase))(dataset, index)
            dataset.AcquisitionNumber = 1
            dataset.StudyTime = "101500"
            change(dataset, index, phase)

        depths = [2.0 * i for i in range(SLICES)]
        write_series(folder / str(phase), depths, change=of_phase)


def acquired_at_once(dataset: Dataset, index: int, phase: int) -> None:
    dataset.AcquisitionTime = f"1012{10 * phase:02d}.5"


def content_at_once(dataset: Dataset, index: int, phase: int) -> None:
    dataset.ContentTime = f"1012{10 * phase:02d}"


def slice_by_slice(dataset: Dataset, index: int, phase: int) -> None:
    # Interleaved: the odd slices come after the even ones.
    seconds = 10 * phase + index // 2 + (5 if index % 2 else 0)
    dataset.AcquisitionTime = f"1012{seconds:02d}.25"


def over_midnight(dataset: Dataset, index: int, phase: int) -> None:
    dataset.AcquisitionDate = "20200102" if phase < 2 else "20200103"
    dataset.AcquisitionTime = f"2359{10 * phase + index:02d}" if phase < 2 else f"0000{10 * phase + index:02d}"


def date_and_time(dataset: Dataset, index: int, phase: int) -> None:
    dataset.AcquisitionDateTime = f"202001021012{10 * phase + index:02d}.000"


def direction(dataset: Dataset, index: int, phase: int) -> None:
    dataset.DiffusionBValue = 1000.0 if phase else 0.0
    if phase:
        turn = np.radians(30 * phase)
        dataset.DiffusionGradientOrientation = [float(np.cos(turn)), float(np.sin(turn)), 1e-7 * index]


def trigger(dataset: Dataset, index: int, phase: int) -> None:
    dataset.TriggerTime = 35.0 * phase + 0.01 * index


def flip_angle(dataset: Dataset, index: int, phase: int) -> None:
    dataset.FlipAngle = 5 * phase + 2


def kernel(dataset: Dataset, index: int, phase: int) -> None:
    dataset.ConvolutionKernel = f"B{30 + 10 * phase}f"


@pytest.mark.parametrize(
    "change",
    [
        flip_angle,
        kernel,
        acquired_at_once,
        content_at_once,
        slice_by_slice,
        over_midnight,
        date_and_time,
        direction,
        trigger,
    ],
)
def test_phases_are_told_apart(tmp_path: Path, change: Callable[[Dataset, int, int], None]) -> None:
    phases(tmp_path, change)
    found = groups(tmp_path)
    assert [len(volume.frames) for volume in found] == [SLICES] * PHASES
    assert all(volume.problems == () for volume in found)
    for volume in found:
        assert len({frame.instance.sop_instance.split(".")[2] for frame in volume.frames}) == 1
        assert volume.notes[0].startswith("its series holds 4 volumes, told apart by ")


def test_times_that_overlap_tell_nothing(tmp_path: Path) -> None:
    """Each slice has its phases at times of its own: to cut by time would mix them."""

    def slice_after_slice(dataset: Dataset, index: int, phase: int) -> None:
        dataset.AcquisitionTime = f"10{index:02d}{10 * phase:02d}"

    phases(tmp_path, slice_after_slice)
    assert "4 different images lie at one place" in one(tmp_path).problems[0]


def test_a_phase_that_lacks_a_slice_takes_none_of_another(tmp_path: Path) -> None:
    phases(tmp_path, slice_by_slice)
    next(path for path in (tmp_path / "1").iterdir() if path.name.endswith("-0")).unlink()
    assert "at one place" in one(tmp_path).problems[0]


def runs(folder: Path, depths: Sequence[float], numbers: Sequence[int] = ()) -> list[Volume]:
    def change(dataset: Dataset, index: int) -> None:
        if numbers:
            dataset.InstanceNumber = numbers[index]

    write_series(folder, depths, change=change)
    return groups(folder, "split")


FINE = [4.22 * i for i in range(14)]
COARSE = [7.38 * i for i in range(14)]


def test_runs_that_follow_each_other(tmp_path: Path) -> None:
    found = runs(tmp_path, [*FINE, *(FINE[-1] + 1.14 + depth for depth in COARSE)])
    assert [len(volume.frames) for volume in found] == [14, 14]
    assert [round(volume.step, 3) for volume in found] == [4.22, 7.38]
    assert all(volume.problems == () for volume in found)
    assert all("split into 2 volumes by their spacing" in volume.notes[0] for volume in found)


@pytest.mark.parametrize("shift", [1.14, 0.0, -11.3])
def test_runs_that_lie_within_each_other(tmp_path: Path, shift: float) -> None:
    mixed = sorted([(depth, 0) for depth in FINE] + [(depth + shift, 1) for depth in COARSE])
    found = runs(tmp_path, [depth for depth, _ in mixed])
    assert [len(volume.frames) for volume in found] == [14, 14]
    assert sorted(round(volume.step, 3) for volume in found) == [4.22, 7.38]
    assert all(volume.problems == () for volume in found)


def test_three_runs_of_one_spacing_within_each_other(tmp_path: Path) -> None:
    depths = sorted(6.0 * i + shift for i in range(8) for shift in (0.0, 1.0, 2.7))
    found = runs(tmp_path, depths)
    assert [len(volume.frames) for volume in found] == [8, 8, 8]
    assert [round(volume.step, 3) for volume in found] == [6, 6, 6]


def test_runs_are_told_apart_by_their_header_first(tmp_path: Path) -> None:
    def thicker(dataset: Dataset, index: int) -> None:
        dataset.SliceThickness = 4.0 if index < 6 else 8.0

    # By spacing alone the frame at 20 belongs to either run.
    write_series(tmp_path, [0, 4, 8, 12, 16, 20, 28, 36, 44], change=thicker)
    found = groups(tmp_path, "split")
    assert [len(volume.frames) for volume in found] == [6, 3]
    assert "by SliceThickness" in found[0].notes[0]


def test_pairs_that_an_attribute_makes_are_no_runs(tmp_path: Path) -> None:
    def acquired(dataset: Dataset, index: int) -> None:
        dataset.AcquisitionNumber = 4 + index // 2

    write_series(tmp_path, [0, 5, 10, 20], change=acquired)
    assert [list(volume.depths + 30) for volume in groups(tmp_path, "split")] == [[0, 5, 10], [20]]


def test_a_part_keeps_its_id_when_another_one_grows(tmp_path: Path) -> None:
    before = runs(tmp_path / "a", (0, 2, 4, 10, 12))
    after = runs(tmp_path / "b", (0, 2, 4, 10, 12, 14, 16))
    assert {volume.id for volume in before} == {volume.id for volume in after}


def test_a_single_slice_apart_is_a_part_of_its_own(tmp_path: Path) -> None:
    assert [len(volume.frames) for volume in runs(tmp_path, (0, 2, 4, 10))] == [3, 1]


def test_uneven_noise_is_not_taken_for_runs_within_each_other(tmp_path: Path) -> None:
    depths = np.cumsum(np.random.default_rng(3).uniform(1, 4, 24))
    found = sorted(runs(tmp_path, [float(depth) for depth in depths]), key=lambda volume: volume.depths[0])
    # Each is a piece of the stack, with nothing of another between its slices.
    assert np.concatenate([volume.depths for volume in found]) == pytest.approx(depths - 30, abs=1e-5)


def stacks(number: Callable[[int], str]) -> Callable[[Dataset, int], None]:
    def change(item: Dataset, index: int) -> None:
        item.FrameContentSequence[0].StackID = number(index)

    return change


def test_stacks_of_one_file_are_volumes(tmp_path: Path) -> None:
    # The second stack goes on where the first one ends: its places alone would not tell.
    write_enhanced(tmp_path / "a", [2.0 * i for i in range(10)], change=stacks(lambda index: str(1 + index // 5)))
    found = groups(tmp_path)
    assert [list(volume.depths) for volume in found] == [[0, 2, 4, 6, 8], [10, 12, 14, 16, 18]]
    assert "told apart by StackID" in found[0].notes[0]


def test_stacks_that_number_slices_do_not_split(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "a", [2.0 * i for i in range(6)], change=stacks(str))
    assert len(one(tmp_path).frames) == 6


def test_dimension_indices_tell_phases_apart(tmp_path: Path) -> None:
    def indices(item: Dataset, index: int) -> None:
        item.FrameContentSequence[0].DimensionIndexValues = [1, index % 5 + 1, index // 5 + 1]

    def dimensions(dataset: Dataset) -> None:
        dataset.DimensionIndexSequence = [Dataset() for _ in range(3)]
        for item, tag in zip(dataset.DimensionIndexSequence, (0x00209056, 0x00209057, 0x00189087), strict=True):
            item.DimensionIndexPointer = tag

    depths = [2.0 * (i % 5) for i in range(15)]
    write_enhanced(tmp_path / "a", depths, change=indices, change_file=dimensions)
    found = groups(tmp_path)
    assert [len(volume.frames) for volume in found] == [5, 5, 5]
    assert {volume.first.index for volume in found} == {0, 5, 10}


def test_gradient_directions_of_frames_tell_apart(tmp_path: Path) -> None:
    def gradient(item: Dataset, index: int) -> None:
        diffusion, inner = Dataset(), Dataset()
        diffusion.DiffusionBValue = 1000.0
        inner.DiffusionGradientOrientation = [1.0, 0.0, 0.0] if index < 4 else [0.0, 1.0, 0.0]
        diffusion.DiffusionGradientDirectionSequence = [inner]
        item.MRDiffusionSequence = [diffusion]

    write_enhanced(tmp_path / "a", [3.0 * (i % 4) for i in range(8)], change=gradient)
    assert [len(volume.frames) for volume in groups(tmp_path)] == [4, 4]


def test_files_of_several_frames_make_one_volume(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "b", [0, 2, 4])
    write_enhanced(tmp_path / "a", [6, 8, 10])
    volume = one(tmp_path)
    assert list(volume.depths) == [0, 2, 4, 6, 8, 10]
    assert volume.problems == ()


def test_a_file_a_phase(tmp_path: Path) -> None:
    for name in "abc":
        write_enhanced(tmp_path / name, [0, 2, 4])
    found = groups(tmp_path)
    assert [len({frame.instance.path for frame in volume.frames}) for volume in found] == [1, 1, 1]


def test_slices_of_a_tomogram_lie_where_its_detector_says(tmp_path: Path) -> None:
    write_tomogram(tmp_path / "up")
    volume = one(tmp_path)
    assert volume.located
    assert volume.positions.tolist() == [[-50, -60, 100 + 4 * i] for i in range(6)]
    assert [frame.index for frame in volume.frames] == [0, 1, 2, 3, 4, 5]
    assert volume.spacing == (4, 4)


def test_a_negative_spacing_stacks_the_other_way(tmp_path: Path) -> None:
    write_tomogram(tmp_path / "down", spacing=-4.0)
    volume = one(tmp_path)
    assert volume.positions[:, 2].tolist() == [80, 84, 88, 92, 96, 100]
    assert [frame.index for frame in volume.frames] == [5, 4, 3, 2, 1, 0]


def test_gates_of_a_tomogram_are_volumes(tmp_path: Path) -> None:
    write_tomogram(tmp_path / "gated", gates=3, image_type=("ORIGINAL", "PRIMARY", "RECON GATED TOMO", "EMISSION"))
    found = groups(tmp_path)
    assert [len(volume.frames) for volume in found] == [6, 6, 6]
    assert "told apart by TimeSlotVector" in found[0].notes[0]


def test_projections_of_a_tomogram_have_no_place(tmp_path: Path) -> None:
    write_tomogram(tmp_path / "raw", image_type=("ORIGINAL", "PRIMARY", "TOMO", "EMISSION"))
    assert not one(tmp_path).located


def test_a_tomogram_without_spacing_has_no_place(tmp_path: Path) -> None:
    write_tomogram(tmp_path / "unknown", spacing=None)
    assert not one(tmp_path).located
