"""PET in standardized uptake values by body weight: what one unit of the rescaled values is in g/ml.

The rules are those of QIBA's vendor-neutral pseudo code for SUVbw: activity (Bq/ml) x weight (g) / dose at the time to
which the scanner corrected the decay. No value of the header is repeated anywhere: weight and dose are a patient's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from hdm_dicom.files.attributes import datasets, numbers, private_number, private_text, text, values
from hdm_dicom.volumes.suv_plausible import LONGEST_OVER_MIDNIGHT, check_dose, check_half_life, check_weight
from hdm_pipeline.errors import UnsupportedSceneError

UNIT = "{SUVbw}g/ml"
"""In UCUM, as DICOM codes it (PS3.16, context group 85)."""

_PHILIPS, _GE = "Philips PET Private Group", "GEMS_PETD_01"
_ASSUMED_WEIGHT = ("SUVType is not stated: g/ml taken as normalized by body weight",)
_DATE = re.compile(r"(\d{4})[.-]?(\d{2})[.-]?(\d{2})")
_TIME = re.compile(r"(\d{2}):?(\d{2})?:?(\d{2})?(?:\.(\d{1,6}))?")
_STAMP = re.compile(r"(\d{8})(\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?)([+-]\d{4})?")
_MOST_HALF_LIVES = 60
"""More of them between injection and scan leave nothing to be seen: a date is wrong."""


def _missing(name: str, why: str, where: str) -> UnsupportedSceneError:
    tag = tag_for_keyword(name) or 0
    return UnsupportedSceneError(
        f"no SUV without {name} ({tag >> 16:04X},{tag & 0xFFFF:04X}): {why}",
        where=where,
        remedy="complete the series, or leave input.options.units at `rescaled`",
    )


def _positive(dataset: Dataset, name: str, where: str) -> float:
    found = numbers(dataset, name, 1)
    if found is None or found[0] <= 0:
        raise _missing(name, "it is absent, or not above 0", where)
    return found[0]


class SuvScale:
    """Factors of one series; constructed with all its headers, since the earliest image tells when the scan began.

    Args:
        headers: of all images, in any order.
        where: for messages.

    Raises:
        UnsupportedSceneError: no PET, or what SUV needs is missing; says which attribute.
    """

    def __init__(self, headers: Sequence[Dataset], where: str) -> None:
        self._where = where
        first = headers[0]
        if text(first, "Modality").upper() != "PT":
            raise UnsupportedSceneError(
                "`units: suv` is for PET, and this series is not",
                where=where,
                remedy="read PET alone, or leave input.options.units at `rescaled`",
            )
        self.notes: tuple[str, ...] = ()
        self._headers = headers
        self._per_activity: float | None = None

    def factor(self, header: Dataset, unit: str) -> float:
        """What the rescaled values of an image are multiplied by.

        Args:
            header: of the image.
            unit: of its rescaled values.

        Raises:
            UnsupportedSceneError: what SUV needs is missing, or its unit leads to none.
        """
        if unit == "BQML":
            return self._activity()
        if unit == "CNTS":
            ready = private_number(header, 0x7053, _PHILIPS, 0x00)
            if ready:
                self._check_corrections(header)
                return ready
            activity = private_number(header, 0x7053, _PHILIPS, 0x09)
            if activity:
                # By QIBA, counts x this x slope are Bq/ml, and the rescale has multiplied by the slope already.
                return activity * self._activity()
            raise UnsupportedSceneError(
                "no SUV of counts without the SUV Scale Factor (7053,xx00) or the Activity Concentration Scale Factor "
                "(7053,xx09) of Philips",
                where=self._where,
                remedy="export the series with its private attributes, or leave input.options.units at `rescaled`",
            )
        if unit == "GML" and text(header, "SUVType") in ("", "BW"):
            self.notes += () if text(header, "SUVType") else _ASSUMED_WEIGHT
            return 1.0
        if unit == "GML":
            raise UnsupportedSceneError(
                "SUVType (0054,1006) is not BW: not normalized by body weight",
                where=self._where,
                remedy="leave input.options.units at `rescaled`: values are then SUV of that type",
            )
        raise _missing("Units", "BQML, CNTS and GML lead to SUV, and it states none of them", self._where)

    def _activity(self) -> float:
        """g/ml by Bq/ml; alike for the whole series."""
        if self._per_activity is None:
            first = self._headers[0]
            self._check_corrections(first)
            weight = _positive(first, "PatientWeight", self._where)
            check_weight(weight, self._refusal)
            tracer = (datasets(first, "RadiopharmaceuticalInformationSequence") or [Dataset()])[0]
            dose = _positive(tracer, "RadionuclideTotalDose", self._where)
            check_dose(dose, self._refusal)
            self._per_activity = weight * 1000 / (dose * 0.5 ** self._half_lives(first, tracer))
        return self._per_activity

    def _refusal(self, name: str, why: str) -> UnsupportedSceneError:
        return _missing(name, why, self._where)

    def _check_corrections(self, header: Dataset) -> None:
        stated = {str(value).strip().upper() for value in values(header, "CorrectedImage")}
        absent = [
            name for name, terms in (("attenuation", {"ATTN"}), ("decay", {"DECY", "DECAY"})) if not stated & terms
        ]
        if stated and absent:
            raise _missing("CorrectedImage", f"images are not corrected for {' and '.join(absent)}", self._where)
        if not stated:
            self.notes += ("CorrectedImage is not stated: taken as corrected for attenuation and decay",)

    def _half_lives(self, header: Dataset, tracer: Dataset) -> float:
        """Half-lives from the time of the dose to the time that pixels are corrected to."""
        correction = text(header, "DecayCorrection")
        if not correction and text(header, "DecayCorrected") == "YES":
            correction = "START"  # enhanced PET: to the time that it states
        if correction == "ADMIN":
            return 0.0
        if correction != "START":
            raise _missing("DecayCorrection", "START and ADMIN lead to SUV, and it states neither", self._where)
        half_life = _positive(tracer, "RadionuclideHalfLife", self._where)
        check_half_life(half_life, tracer, self._refusal)
        scan = scan_start(self._headers, half_life, self._where)
        injected = _injection(header, tracer, scan, self._where)
        passed = (scan - injected).total_seconds() / half_life
        if not 0 <= passed <= _MOST_HALF_LIVES:
            name = (
                "RadiopharmaceuticalStartDateTime"
                if text(tracer, "RadiopharmaceuticalStartDateTime")
                else ("RadiopharmaceuticalStartTime")
            )
            raise _missing(name, "it lies after the scan, or long before it; dates may have been shifted", self._where)
        return passed


def _injection(header: Dataset, tracer: Dataset, scan: datetime, where: str) -> datetime:
    stamp = _datetime(text(tracer, "RadiopharmaceuticalStartDateTime"), header)
    if stamp is not None:
        return stamp
    time = _time(text(tracer, "RadiopharmaceuticalStartTime"))
    if time is None:
        raise _missing(
            "RadiopharmaceuticalStartTime", "nor is RadiopharmaceuticalStartDateTime (0018,1078) there", where
        )
    # Without a date: the last such time before the scan, also over midnight.
    injected = scan.replace(hour=0, minute=0, second=0, microsecond=0) + time
    if injected <= scan:
        return injected
    injected -= timedelta(days=1)
    if (scan - injected).total_seconds() > LONGEST_OVER_MIDNIGHT:
        why = "it lies after the start of the scan, and without a date it would be that of the day before"
        raise _missing("RadiopharmaceuticalStartTime", why, where)
    return injected


def scan_start(headers: Sequence[Dataset], half_life: float, where: str) -> datetime:
    """When the scan began, the time to which decay was corrected.

    That is the time of the series, unless it lies after the first acquisition: then the series was made later, and
    GE's private time tells it, or else the first acquisition does, counted back by its FrameReferenceTime.

    Raises:
        UnsupportedSceneError: no usable time.
    """
    stated = _datetime(text(headers[0], "DecayCorrectionDateTime"), headers[0])
    if stated is not None:
        return stated
    acquired = [(when, header) for header in headers if (when := _at(header, "Acquisition")) is not None]
    series = _at(headers[0], "Series")
    if series is None and not acquired:
        raise _missing("SeriesTime", "nor is AcquisitionTime (0008,0032) there, with their dates", where)
    first, header = min(acquired, key=lambda pair: pair[0]) if acquired else (series, headers[0])
    if series is not None and first is not None and series <= first:
        return series
    private = _datetime(private_text(headers[0], 0x0009, _GE, 0x0D), headers[0])
    if private is not None:
        return private
    if first is None:
        raise _missing("AcquisitionTime", "it tells the start of the scan", where)
    reference, duration = numbers(header, "FrameReferenceTime", 1), numbers(header, "ActualFrameDuration", 1)
    if reference and duration and reference[0] > 0 and duration[0] > 0:
        return first - timedelta(milliseconds=reference[0]) + _mean_count_time(duration[0] / 1000, half_life)
    return first


def _mean_count_time(duration: float, half_life: float) -> timedelta:
    """When, in a frame of `duration` seconds, the count rate is what it is on average."""
    decay = math.log(2) / half_life
    return timedelta(seconds=math.log(decay * duration / (1 - math.exp(-decay * duration))) / decay)


def _at(header: Dataset, stem: str) -> datetime | None:
    date, time = _DATE.fullmatch(text(header, f"{stem}Date")), _time(text(header, f"{stem}Time"))
    day = _day("".join(date.groups())) if date else None
    if day is not None and time is not None:
        return day + time
    return _datetime(text(header, f"{stem}DateTime"), header) if stem == "Acquisition" else None


def _time(stated: str) -> timedelta | None:
    found = _TIME.fullmatch(stated)
    if found is None:
        return None
    hours, minutes, seconds = (int(part or 0) for part in found.groups()[:3])
    return timedelta(hours=hours, minutes=minutes, seconds=seconds, microseconds=int((found[4] or "0").ljust(6, "0")))


def _datetime(stated: str, header: Dataset) -> datetime | None:
    """A DT value on the clock of the header's dates and times."""
    found = _STAMP.fullmatch(stated)
    day, time = (_day(found[1]), _time(found[2])) if found else (None, None)
    if found is None or day is None or time is None:
        return None
    zone, local = _offset(found[3] or ""), _offset(text(header, "TimezoneOffsetFromUTC"))
    # A zone of its own means nothing where the dates beside it state none: both were set by one clock.
    return day + time + (local - zone if zone is not None and local is not None else timedelta())


def _offset(stated: str) -> timedelta | None:
    found = re.fullmatch(r"([+-])(\d{2})(\d{2})", stated)
    if found is None:
        return None
    offset = timedelta(hours=int(found[2]), minutes=int(found[3]))
    return -offset if found[1] == "-" else offset


def _day(stated: str) -> datetime | None:
    try:
        return datetime.strptime(stated, "%Y%m%d")
    except ValueError:
        return None
