"""De-identification by the Basic Application Confidentiality Profile of PS3.15 (annex E).

What happens to an attribute stands in ``basic_profile.json``, table E.1-1 of the standard by tag: X removed, Z emptied,
D replaced by a dummy, U replaced by another UID. Where the table leaves a choice (X/Z/D), what keeps the object valid
is taken: a dummy before an empty value before removal. Private attributes, curves and overlays go; the rest stays.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from functools import cache
from importlib import resources
from pathlib import Path

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from hdm_dicom.files.attributes import datasets
from hdm_dicom.files.uids import digest, keyed_uid
from hdm_pipeline.errors import ConfigError

_METHOD = "PS3.15 Basic Application Confidentiality Profile"
_SHORTEST_KEY = 16
_PATIENT = frozenset({0x00100010, 0x00100020})
_FILED_BY = frozenset({0x00080020, 0x00080030, 0x00200010})
"""Study date, time and id: Z allows a dummy too (PS3.15 E.1), and without one no directory can list the study."""

_CURVES, _OVERLAYS = 0x5000, 0x6000
_DUMMIES = {
    "AE": "ANONYMOUS",
    "AS": "000Y",
    "CS": "ANONYMOUS",
    "DA": "19000101",
    "DS": "0",
    "DT": "19000101000000",
    "IS": "0",
    "PN": "ANONYMOUS^",
    "TM": "000000",
}
_TEXTS = frozenset({"LO", "LT", "SH", "ST", "UC", "UR", "UT"})
_NUMBERS = frozenset({"FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"})


def read_key(path: str, where: str) -> bytes:
    """The secret of the keyed hashes.

    Raises:
        ConfigError: unreadable, or shorter than 16 bytes.
    """
    try:
        key = Path(path).expanduser().read_bytes().strip()
    except OSError as error:
        raise ConfigError(
            f"the key of the de-identification cannot be read: {error.strerror}",
            where=where,
            remedy="make one with `openssl rand -hex 32 > FILE`, readable only by you, and keep it",
        ) from None
    if len(key) < _SHORTEST_KEY:
        raise ConfigError(f"the key has {len(key)} bytes, at least {_SHORTEST_KEY} are needed", where=where)
    return key


def deidentify(dataset: Dataset, key: bytes) -> None:
    """De-identify a data set in place, sequences included, and stamp it with the method.

    Equal UIDs and patients become equal ones under the same key, so that objects that were de-identified together still
    refer to each other, and nobody without the key can tell which they were.
    """
    _walk(dataset, key, set())
    for segment in datasets(dataset, "SegmentSequence"):
        # Ours, and made of a hash of the series: made again of the series' new name.
        if "TrackingUID" in segment and "TrackingID" in segment:
            segment.TrackingID = digest(segment.TrackingUID)[:16]
    if hasattr(dataset, "file_meta"):
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = _METHOD
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator = "113100", "DCM"
    code.CodeMeaning = "Basic Application Confidentiality Profile"
    dataset.DeidentificationMethodCodeSequence = [code]
    dataset.LongitudinalTemporalInformationModified = "REMOVED"


@cache
def actions() -> dict[int, str]:
    """Action codes by tag."""
    text = resources.files("hdm_dicom.privacy").joinpath("basic_profile.json").read_text(encoding="utf-8")
    table: dict[str, str] = json.loads(text)["actions"]
    return {int(tag, 16): action for tag, action in table.items()}


def _walk(dataset: Dataset, key: bytes, done: set[int]) -> None:
    """Do a data set and all that is in it.

    `done` has the ids of elements that were replaced: data sets in memory may share their items, and a UID that is
    replaced twice is that of no other file.
    """
    for tag in list(dataset.keys()):
        group = tag >> 16
        if group % 2 or _CURVES <= group < _CURVES + 0x100 or _OVERLAYS <= group < _OVERLAYS + 0x100:
            del dataset[tag]
            continue
        action = actions().get(int(tag))
        if action == "X":
            del dataset[tag]
            continue
        element = dataset[tag]
        if id(element) in done:
            continue
        done.add(id(element))
        if element.VR == "SQ" and action != "Z":
            for item in element.value:
                _walk(item, key, done)
        elif action is not None:
            _replace(element, action, key)


def _replace(element: DataElement, action: str, key: bytes) -> None:
    if element.VR == "SQ":
        element.value = []
    elif element.VR == "UI":
        # Whatever the table allows for a UID, another UID keeps references whole.
        several = element.value if isinstance(element.value, MultiValue) else [element.value]
        replaced = [keyed_uid(key, str(uid)) if uid else "" for uid in several]
        element.value = replaced if len(replaced) > 1 else replaced[0]
    elif int(element.tag) in _PATIENT:
        stands_for = hmac.new(key, str(element.value).encode(), hashlib.sha256).hexdigest()[:16]
        element.value = f"ANON-{stands_for}^" if element.VR == "PN" else f"ANON-{stands_for}"
    elif "D" in action or int(element.tag) in _FILED_BY:
        element.value = _dummy(element)
    else:
        element.value = None if element.VR in _NUMBERS else ""


def _dummy(element: DataElement) -> object:
    if element.VR in _DUMMIES:
        return _DUMMIES[element.VR]
    if element.VR in _TEXTS:
        return "ANONYMIZED"
    if element.VR in _NUMBERS:
        return 0
    return b""
