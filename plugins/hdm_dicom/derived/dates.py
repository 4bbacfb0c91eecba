"""When a product counts as made: at the time of its source, so that the same input gives the same bytes."""

from __future__ import annotations

import re

from pydicom.dataset import Dataset

from hdm_dicom.files.attributes import text

DATE = re.compile(r"\d{8}")
TIME = re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?")
_NO_DATE, _NO_TIME = "19000101", "000000"


def date_and_time(source: Dataset) -> tuple[str, str]:
    """DA and TM of the source: of its content, acquisition, series or study, whichever is stated first."""
    for stem in ("Content", "Acquisition", "Series", "Study"):
        date, time = text(source, f"{stem}Date"), text(source, f"{stem}Time")
        if DATE.fullmatch(date):
            return date, time if TIME.fullmatch(time) else _NO_TIME
    return _NO_DATE, _NO_TIME
