"""PET in SUV, against activity, weight and decay worked out here from the times alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from hdm_pipeline.errors import UnsupportedSceneError
from tests.dicom_series import write_series
from tests.unit.dicom.values import RAMP, Floats, facts, kinds, opened

WEIGHT, DOSE, HALF_LIFE = 71.25, 370e6, 6586.2
INJECTED, SCANNED = 9 * 3600, 10 * 3600 + 120
"""Seconds of the day: 09:00:00 and 10:02:00."""

Alter = Callable[[Dataset, int], None]


def clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02d}{whole // 60 % 60:02d}{whole % 60:02d}.{round((seconds - whole) * 1e6):06d}"


def pet(folder: Path, alter: Alter = lambda dataset, index: None) -> Path:
    """A PET series in Bq/ml: two bed positions, the second 180 s later; the slope differs by slice."""

    def change(dataset: Dataset, index: int) -> None:
        dataset.Modality, dataset.Units, dataset.DecayCorrection = "PT", "BQML", "START"
        dataset.RescaleSlope, dataset.RescaleIntercept = 10 + index, 0
        dataset.CorrectedImage = ["DECY", "ATTN", "SCAT", "DTIM"]
        dataset.SeriesDate = dataset.AcquisitionDate = "20200102"
        dataset.SeriesTime, dataset.AcquisitionTime = clock(SCANNED), clock(SCANNED + 180 * (index > 2))
        dataset.PatientWeight = WEIGHT
        tracer = Dataset()
        tracer.RadionuclideTotalDose, tracer.RadionuclideHalfLife = DOSE, HALF_LIFE
        tracer.RadiopharmaceuticalStartTime = clock(INJECTED)
        dataset.RadiopharmaceuticalInformationSequence = [tracer]
        alter(dataset, index)

    write_series(folder, pixels=lambda index: RAMP + index, change=change)
    return folder


def tracer(dataset: Dataset) -> Dataset:
    return dataset.RadiopharmaceuticalInformationSequence[0]


def expected(passed: float, scale: float = 1.0) -> Floats:
    """SUVbw of all slices where the decay was corrected to `passed` seconds after the injection."""
    remaining = DOSE * math.exp(-math.log(2) * passed / HALF_LIFE)
    activity = np.stack([(RAMP + index) * float(10 + index) for index in range(5)])
    return np.asarray(activity * scale * WEIGHT * 1000 / remaining, dtype=np.float32)


def suv(folder: Path) -> Floats:
    header, pixels, _ = opened(folder, units="suv")
    assert header.bands[0].unit == "{SUVbw}g/ml"
    return pixels


def test_from_the_start_of_the_series(tmp_path: Path) -> None:
    def alter(dataset: Dataset, _: int) -> None:
        dataset.RescaleType = "HU"  # which some converters leave there; Units counts

    assert suv(pet(tmp_path, alter)) == pytest.approx(expected(SCANNED - INJECTED), rel=1e-5)


def test_without_the_option_values_are_activity(tmp_path: Path) -> None:
    header, pixels, _ = opened(pet(tmp_path))
    assert header.bands[0].unit == "BQML"
    assert np.allclose(pixels[1], (RAMP + 1) * 11.0)


def test_a_decay_that_was_corrected_to_the_injection(tmp_path: Path) -> None:
    def alter(dataset: Dataset, _: int) -> None:
        dataset.DecayCorrection = "ADMIN"
        del tracer(dataset).RadionuclideHalfLife, tracer(dataset).RadiopharmaceuticalStartTime

    assert suv(pet(tmp_path, alter)) == pytest.approx(expected(0), rel=1e-5)


@pytest.mark.parametrize(
    "stamp", ["20200102090000", "20200102090000.000000", "20200102080000+0000", "20200102100000.0+0200"]
)
def test_the_date_and_time_of_the_injection_counts_before_its_time(tmp_path: Path, stamp: str) -> None:
    def alter(dataset: Dataset, _: int) -> None:
        dataset.TimezoneOffsetFromUTC = "+0100"
        tracer(dataset).RadiopharmaceuticalStartDateTime = stamp
        tracer(dataset).RadiopharmaceuticalStartTime = "010203"

    assert suv(pet(tmp_path, alter)) == pytest.approx(expected(SCANNED - INJECTED), rel=1e-5)


def test_an_injection_before_midnight(tmp_path: Path) -> None:
    def alter(dataset: Dataset, index: int) -> None:
        dataset.SeriesTime, dataset.AcquisitionTime = clock(600), clock(600 + index)
        tracer(dataset).RadiopharmaceuticalStartTime = clock(86400 - 3000)

    assert suv(pet(tmp_path, alter)) == pytest.approx(expected(3600), rel=1e-5)


def test_a_series_that_was_made_later_goes_by_its_first_acquisition(tmp_path: Path) -> None:
    def alter(dataset: Dataset, _: int) -> None:
        dataset.SeriesDate, dataset.SeriesTime = "20200105", "120000"

    assert suv(pet(tmp_path, alter)) == pytest.approx(expected(SCANNED - INJECTED), rel=1e-5)


def test_the_scan_is_counted_back_by_the_reference_time_of_a_frame(tmp_path: Path) -> None:
    duration, began = 180.0, SCANNED - 540.0
    rate = math.log(2) / HALF_LIFE
    mean = math.log(rate * duration / (1 - math.exp(-rate * duration))) / rate
    assert 89 < mean < 90.1, "a bit before the middle of the frame"

    def alter(dataset: Dataset, index: int) -> None:
        later = 180 * (index > 2)
        dataset.SeriesTime = "120000"
        dataset.ActualFrameDuration = int(duration * 1000)
        dataset.FrameReferenceTime = round((SCANNED + later + mean - began) * 1000, 3)

    assert suv(pet(tmp_path, alter)) == pytest.approx(expected(began - INJECTED), rel=1e-5)


def test_the_private_time_of_ge_counts_for_a_series_that_was_made_later(tmp_path: Path) -> None:
    def alter(dataset: Dataset, _: int) -> None:
        dataset.SeriesTime = "120000"
        dataset.add_new((0x0009, 0x10), "LO", "GEMS_PETD_01")
        dataset.add_new((0x0009, 0x100D), "DT", f"20200102{clock(SCANNED - 300)}")

    assert suv(pet(tmp_path, alter)) == pytest.approx(expected(SCANNED - 300 - INJECTED), rel=1e-5)


@pytest.mark.parametrize("vr", ["DS", "UN"])
def test_counts_of_philips_by_its_suv_factor(tmp_path: Path, vr: str) -> None:
    def alter(dataset: Dataset, _: int) -> None:
        dataset.Units = "CNTS"
        dataset.add_new((0x7053, 0x10), "LO", "Philips PET Private Group")
        dataset.add_new((0x7053, 0x1000), vr, "0.000551" if vr == "DS" else b"0.000551")
        dataset.add_new((0x7053, 0x1009), "DS", "1.602563")
        del dataset.PatientWeight

    counts = np.stack([(RAMP + index) * float(10 + index) for index in range(5)])
    assert suv(pet(tmp_path, alter)) == pytest.approx(counts * 0.000551, rel=1e-5)
    header, pixels, _ = opened(tmp_path)
    assert np.allclose(pixels, counts)
    assert "(7053,xx00)" in kinds(header)["private_scale"].what


@pytest.mark.parametrize("factor", [None, "0"])
def test_counts_of_philips_by_its_activity_factor(tmp_path: Path, factor: str | None) -> None:
    def alter(dataset: Dataset, _: int) -> None:
        dataset.Units = "CNTS"
        dataset.add_new((0x7053, 0x11), "LO", "Philips PET Private Group")
        if factor:
            dataset.add_new((0x7053, 0x1100), "DS", factor)
        dataset.add_new((0x7053, 0x1109), "DS", "1.602563")

    assert suv(pet(tmp_path, alter)) == pytest.approx(expected(SCANNED - INJECTED, 1.602563), rel=1e-5)


def test_g_per_ml_are_suv_already(tmp_path: Path) -> None:
    def alter(dataset: Dataset, _: int) -> None:
        dataset.Units, dataset.SUVType = "GML", "BW"

    assert np.allclose(suv(pet(tmp_path, alter))[3], (RAMP + 3) * 13.0)


def test_corrections_that_are_not_stated_are_told(tmp_path: Path) -> None:
    def alter(dataset: Dataset, _: int) -> None:
        del dataset.CorrectedImage

    header, pixels, _ = opened(pet(tmp_path, alter), units="suv")
    assert pixels == pytest.approx(expected(SCANNED - INJECTED), rel=1e-5)
    assert "CorrectedImage is not stated" in facts(header)


def without(*names: str, value: object = None) -> Alter:
    def alter(dataset: Dataset, _: int) -> None:
        for name in names:
            for level in (dataset, tracer(dataset)):
                if name in level and value is None:
                    del level[name]
                elif name in level:
                    setattr(level, name, value)

    return alter


def shifted(dataset: Dataset, _: int) -> None:
    tracer(dataset).RadiopharmaceuticalStartDateTime = "20200103090000"


def coded(nuclide: str, half_life: float) -> Alter:
    def alter(dataset: Dataset, _: int) -> None:
        code = Dataset()
        code.CodeValue = nuclide
        tracer(dataset).RadionuclideCodeSequence = [code]
        tracer(dataset).RadionuclideHalfLife = half_life

    return alter


@pytest.mark.parametrize(
    "alter",
    [coded("77004003", 6588), coded("C-111A1", 6600), coded("unknown", 6000), without("PatientWeight", value=0.02)],
)
def test_what_can_be_is_taken(tmp_path: Path, alter: Alter) -> None:
    assert np.isfinite(suv(pet(tmp_path, alter))).all()


@pytest.mark.parametrize(
    ("alter", "named"),
    [
        (without("PatientWeight"), r"PatientWeight \(0010,1030\)"),
        (without("PatientWeight", value=0), r"PatientWeight \(0010,1030\)"),
        (without("RadionuclideTotalDose"), r"RadionuclideTotalDose \(0018,1074\)"),
        (without("RadionuclideHalfLife", value=""), r"RadionuclideHalfLife \(0018,1075\)"),
        (without("RadiopharmaceuticalStartTime"), r"RadiopharmaceuticalStartTime \(0018,1072\)"),
        (without("SeriesTime", "AcquisitionTime"), r"SeriesTime \(0008,0031\)"),
        (without("SeriesDate", "AcquisitionDate"), r"SeriesTime \(0008,0031\)"),
        (without("DecayCorrection"), r"DecayCorrection \(0054,1102\)"),
        (without("DecayCorrection", value="NONE"), r"DecayCorrection \(0054,1102\)"),
        (without("CorrectedImage", value=["DECY"]), r"CorrectedImage \(0028,0051\).*attenuation"),
        (without("Units"), r"Units \(0054,1001\)"),
        (without("Units", value="PROPCNTS"), r"Units \(0054,1001\)"),
        (without("Units", value="CNTS"), r"\(7053,xx00\)"),
        (shifted, r"RadiopharmaceuticalStartDateTime \(0018,1078\)"),
        (without("PatientWeight", value=71250), r"PatientWeight \(0010,1030\).*grams"),
        (without("RadionuclideTotalDose", value=370), r"RadionuclideTotalDose \(0018,1074\).*MBq"),
        (without("RadionuclideTotalDose", value=370e3), r"RadionuclideTotalDose \(0018,1074\).*kBq"),
        (without("RadionuclideTotalDose", value=370e9), r"RadionuclideTotalDose \(0018,1074\)"),
        (without("RadionuclideHalfLife", value=109.8), r"RadionuclideHalfLife \(0018,1075\).*not in seconds"),
        (without("RadionuclideHalfLife", value=1.83), r"RadionuclideHalfLife \(0018,1075\).*not in seconds"),
        (coded("77004003", 6000), r"RadionuclideHalfLife \(0018,1075\).*coded nuclide"),
        (coded("C-111A1", 109.8), r"RadionuclideHalfLife \(0018,1075\).*coded nuclide"),
        (without("RadiopharmaceuticalStartTime", value=clock(SCANNED + 48)), r"\(0018,1072\).*the day before"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, alter: Alter, named: str) -> None:
    with pytest.raises(UnsupportedSceneError, match=named) as caught:
        opened(pet(tmp_path, alter), units="suv")
    assert caught.value.remedy
    assert not any(str(value) in str(caught.value) for value in ("71.25", "370000000", "6586"))


def test_suv_of_lean_mass_is_not_taken_for_suv_of_weight(tmp_path: Path) -> None:
    def alter(dataset: Dataset, _: int) -> None:
        dataset.Units, dataset.SUVType = "GML", "LBM"

    with pytest.raises(UnsupportedSceneError, match=r"SUVType \(0054,1006\)"):
        opened(pet(tmp_path, alter), units="suv")


def test_a_ct_has_no_suv(tmp_path: Path) -> None:
    write_series(tmp_path)
    with pytest.raises(UnsupportedSceneError, match="for PET"):
        opened(tmp_path, units="suv")
