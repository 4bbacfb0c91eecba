"""De-identification by the Basic Application Confidentiality Profile of PS3.15 (annex E).

What happens to an attribute stands in ``basic_profile.json``, table E.1-1 of the standard by tag: X removed, Z emptied,
D replaced by a dummy, U replaced by another UID. Where the table leaves a choice (X/Z/D), what keeps the object valid
is taken: a dummy before an empty value before removal. Private attributes, curves and overlays go, and so do attributes
that neither the table nor the dictionary knows; the rest stays. Texts of reports become hashes, their codes and numbers
stay.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from copy import copy
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import VR

from hdm_dicom.files.attributes import PARSE_ERRORS, datasets, text
from hdm_dicom.files.uids import digest, keyed_uid
from hdm_dicom.privacy.tally import Tally
from hdm_pipeline.errors import ConfigError

_METHOD = "PS3.15 Basic Application Confidentiality Profile"
_SHORTEST_KEY = 16
_NEW_KEY = "make one with `openssl rand -hex 32 > FILE`, readable only by you, and keep it"
_OURS = "hdm_pipeline"
"""Who made a structure set, and whose algorithm drew its structures, where names of structures are ours."""

_PATIENT = frozenset({0x00100010, 0x00100020})
_FILED_BY = frozenset({0x00080020, 0x00080030, 0x00200010})
"""Study date, time and id: Z allows a dummy too (PS3.15 E.1), and without one no directory can list the study."""

_ALSO = frozenset({0x0018A001, 0x04000500})
"""Removed beyond the table: equipment that contributed (the scanner's model and software, in objects made of its
images), and encrypted attributes, which may be the original ones."""

_CURVES, _OVERLAYS = 0x5000, 0x6000
_LISTED, _LENGTH = "listed", "length"
_TRACKING_ID = "112039"
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
_PLAIN = frozenset(str(kind) for kind in VR) - {"SQ", "UN"}
"""Types whose values hold nothing but themselves. Whatever claims to be of another one is looked at."""

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
            remedy=_NEW_KEY,
        ) from None
    if len(key) < _SHORTEST_KEY:
        what = f"the key has {len(key)} bytes, at least {_SHORTEST_KEY} are needed"
        raise ConfigError(what, where=where, remedy=_NEW_KEY)
    return key


def deidentify(dataset: Dataset, key: bytes, tally: Tally | None = None) -> None:
    """De-identify a data set in place, sequences included, and stamp it with the method.

    Equal UIDs and patients become equal ones under the same key, so that objects that were de-identified together still
    refer to each other, and nobody without the key can tell which they were.

    Args:
        dataset: to change.
        key: of the keyed hashes.
        tally: counts what is done.
    """
    tally = tally if tally is not None else Tally()
    kept = _names_of_classes(dataset)
    _walk(dataset, key, tally, set())
    for segment in datasets(dataset, "SegmentSequence"):
        # Ours, and made of a hash of the series: made again of the series' new name.
        if "TrackingUID" in segment and "TrackingID" in segment:
            segment.TrackingID = digest(segment.TrackingUID)[:16]
    for roi, name in kept:
        roi.ROIName = name
    for item in datasets(dataset, "ContentSequence"):
        _clean_content(item, [], key, tally)
    if hasattr(dataset, "file_meta"):
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = _METHOD
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator = "113100", "DCM"
    code.CodeMeaning = "Basic Application Confidentiality Profile"
    dataset.DeidentificationMethodCodeSequence = [code]
    dataset.LongitudinalTemporalInformationModified = "REMOVED"


def _names_of_classes(dataset: Dataset) -> list[tuple[Dataset, str]]:
    """Takes the names out of a structure set that a pipeline wrote, to be given back; none of any other.

    Those of ours are the classes of the pipeline file, which stand in its segmentations, too; people write into names
    who it is.
    """
    structures = datasets(dataset, "StructureSetROISequence")
    ours = text(dataset, "Manufacturer") == _OURS and all(
        [text(one, "AlgorithmSource") for one in datasets(roi, "ROIDerivationAlgorithmIdentificationSequence")]
        == [_OURS]
        for roi in structures
    )
    names = [(roi, text(roi, "ROIName")) for roi in structures] if ours else []
    for roi, _ in names:
        roi.pop("ROIName", None)
    return names


def keyed(key: bytes, *parts: object) -> str:
    """A hash (64 hex digits) that only the key's holder can repeat."""
    return hmac.new(key, "\x1f".join(str(part) for part in parts).encode(), hashlib.sha256).hexdigest()


def _clean_content(item: Dataset, siblings: list[Dataset], key: bytes, tally: Tally) -> None:
    """Texts of a report: hashes in their place, so that what was named alike still is."""
    if text(item, "ValueType") == "TEXT" and "TextValue" in item:
        tally.add("hashed", "TextValue")
        uids = [text(each, "UID") for each in siblings if text(each, "ValueType") == "UIDREF"]
        # As in the segmentation that a tracked region comes from.
        tracked = _concept(item) == _TRACKING_ID and len(uids) == 1
        item.TextValue = digest(uids[0])[:16] if tracked else f"ANON-{keyed(key, 'text', item.TextValue)[:16]}"
    inner = datasets(item, "ContentSequence")
    for each in inner:
        _clean_content(each, inner, key, tally)


def _concept(item: Dataset) -> str:
    names = datasets(item, "ConceptNameCodeSequence")
    return text(names[0], "CodeValue") if names else ""


@cache
def _profile() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        resources.files("hdm_dicom.privacy").joinpath("basic_profile.json").read_text(encoding="utf-8")
    )
    return found


@cache
def actions() -> dict[int, str]:
    """Action codes by tag."""
    return {int(tag, 16): action for tag, action in _profile()["actions"].items()}


def edition() -> str:
    """The edition of the standard, and its table."""
    return str(_profile()["edition"])


def _walk(dataset: Dataset, key: bytes, tally: Tally, seen: set[int]) -> None:
    # In a data set that was built, one item may stand in several sequences; hashed twice, it would refer to nothing.
    if id(dataset) in seen:
        return
    seen.add(id(dataset))
    for tag in list(dataset.keys()):
        gone = _goes(int(tag))
        if gone:
            del dataset[tag]
            if gone != _LENGTH:
                tally.add("removed", gone if gone != _LISTED else int(tag))
            continue
        action = actions().get(int(tag))
        raw = dataset.get_item(tag)
        kind = raw.VR or dictionary_VR(tag) if raw is not None else None
        if action is None and kind in _PLAIN:
            continue  # stays as it was, byte for byte
        try:
            element = dataset[tag]
            items = list(element.value or ()) if element.VR == "SQ" and action != "Z" else None
        except PARSE_ERRORS:
            del dataset[tag]
            tally.add("removed", "unreadable")
            continue
        if items is not None:
            if action is not None:
                tally.add("cleaned", int(tag))
            for item in items:
                _walk(item, key, tally, seen)
        elif action is not None:
            own = copy(element)  # which may stand elsewhere, too
            tally.add(_replace(own, action, key), int(tag))
            dataset[tag] = own


def _goes(tag: int) -> str:
    """Why an attribute is removed: its kind, `_LISTED` for those of the table; empty if it is not."""
    group = tag >> 16
    if group % 2:
        return "private"
    if _CURVES <= group < _CURVES + 0x100:
        return "curve"
    if _OVERLAYS <= group < _OVERLAYS + 0x100:
        return "overlay"
    if actions().get(tag) == "X" or tag in _ALSO:
        return _LISTED
    if tag & 0xFFFF == 0 and group > 2:
        return _LENGTH  # of a group, retired, and no longer true
    return "" if tag in actions() or dictionary_has_tag(tag) else "unknown"


def _replace(element: DataElement, action: str, key: bytes) -> str:
    """Put something else in place of a value; says what was done."""
    if element.VR == "SQ":
        element.value = []
        return "emptied"
    if element.VR == "UI":
        # Whatever the table allows for a UID, another UID keeps references whole.
        several = element.value if isinstance(element.value, MultiValue) else [element.value]
        replaced = [keyed_uid(key, str(uid)) if uid else "" for uid in several]
        element.value = replaced if len(replaced) > 1 else replaced[0]
        return "hashed"
    if int(element.tag) in _PATIENT:
        # "Doe" and "Doe^" are one name, and objects that are made of an image may write it either way.
        stands_for = keyed(key, str(element.value).strip().rstrip("^= "))[:16]
        element.value = f"ANON-{stands_for}^" if element.VR == "PN" else f"ANON-{stands_for}"
        return "hashed"
    if "D" in action or int(element.tag) in _FILED_BY:
        element.value = _dummy(element)
        return "dummy"
    element.value = None if element.VR in _NUMBERS else ""
    return "emptied"


def _dummy(element: DataElement) -> object:
    if element.VR in _DUMMIES:
        return _DUMMIES[element.VR]
    if element.VR in _TEXTS:
        return "ANONYMIZED"
    if element.VR in _NUMBERS:
        return 0
    return b""
