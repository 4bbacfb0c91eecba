"""Whether what SUV is computed from can be so: each of these slips leaves a series that still runs, with wrong values.

Weights in grams, doses in MBq and half-lives in minutes are met in archives. Only what cannot be is refused: bounds are
those of any scan, of a mouse up to the heaviest person. No value is repeated in a message: they are a patient's.
"""

from __future__ import annotations

from collections.abc import Callable

from pydicom.dataset import Dataset

from hdm_dicom.files.attributes import datasets, text
from hdm_pipeline.errors import UnsupportedSceneError

Refusal = Callable[[str, str], UnsupportedSceneError]
"""An error by the attribute's keyword and what is wrong with it."""

LONGEST_OVER_MIDNIGHT = 6 * 3600
"""Seconds from an injection before midnight to the scan, where no date is stated."""

_WEIGHTS = (0.01, 650.0)
_DOSES = (1e6, 1e11)
_CLOSE = 0.05
_VERY_CLOSE = 0.01
_SHORT = 200.0
"""Most that a half-life is in the unit that people say it in: 110 minutes, 78 hours, 4 days."""

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0

# Half-lives: Decay Data Evaluation Project, http://www.lnhb.fr/nuclear-data, rounded to what the check needs.
# Codes: PS3.16, context group 4020, in SNOMED CT and in the older SNOMED RT.
_NUCLIDES = {
    ("40565003", "C-105A1"): 1222.0,  # carbon 11
    ("21576001", "C-107A1"): 597.9,  # nitrogen 13
    ("129504001", "C-B1038"): 122.2,  # oxygen 15
    ("77004003", "C-111A1"): 6586.2,  # fluorine 18
    ("3932008", "C-127A2"): 12.70 * _HOUR,  # copper 64
    ("35337001", "C-131A3"): 67.7 * _MINUTE,  # gallium 68
    ("79197006", "C-159A2"): 76.4,  # rubidium 82
    ("63360001", "C-168A4"): 78.4 * _HOUR,  # zirconium 89
    ("14691008", "C-162A7"): 64.0 * _HOUR,  # yttrium 90
    ("40937006", "C-114A5"): 4.18 * _DAY,  # iodine 124
}
_BY_CODE = {code: seconds for codes, seconds in _NUCLIDES.items() for code in codes}


def check_weight(kilograms: float, refusal: Refusal) -> None:
    """Raise the refusal where nobody weighs so much, or so little."""
    if not _WEIGHTS[0] <= kilograms <= _WEIGHTS[1]:
        raise refusal("PatientWeight", "it is no weight in kilograms that can be; perhaps it is in grams")


def check_dose(becquerels: float, refusal: Refusal) -> None:
    """Raise the refusal where nothing could be seen of so little, or where nobody would be given so much."""
    if not _DOSES[0] <= becquerels <= _DOSES[1]:
        raise refusal("RadionuclideTotalDose", "it is no dose in Bq that can be; perhaps it is in MBq, kBq or mCi")


def check_half_life(seconds: float, tracer: Dataset, refusal: Refusal) -> None:
    """Raise the refusal where it is not that of the nuclide, or, where none is coded, that of one in another unit.

    Args:
        seconds: as stated.
        tracer: item of RadiopharmaceuticalInformationSequence.
        refusal: makes the error.
    """
    for code in datasets(tracer, "RadionuclideCodeSequence"):
        known = _BY_CODE.get(text(code, "CodeValue"))
        if known is not None:
            if abs(seconds / known - 1) > _CLOSE:
                raise refusal("RadionuclideHalfLife", "it is not that of the coded nuclide in seconds")
            return
    if seconds > _SHORT or _is_one(seconds):
        return
    if any(_is_one(seconds * unit) for unit in (_MINUTE, _HOUR, _DAY)):
        raise refusal("RadionuclideHalfLife", "it is that of a nuclide of PET, but not in seconds")


def _is_one(seconds: float) -> bool:
    return any(abs(seconds / known - 1) <= _VERY_CLOSE for known in _NUCLIDES.values())
