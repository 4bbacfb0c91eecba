"""Texts of files that state no character set and are not ASCII: UTF-8 where they are valid UTF-8.

Without SpecificCharacterSet only ASCII is allowed. pydicom reads the rest as Latin-1, which many old devices write; but
what newer programs write is UTF-8, and a name in Latin-1 is hardly ever valid UTF-8 by chance.
"""

from __future__ import annotations

from pydicom import config as pydicom_config
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset

from hdm_dicom.files.attributes import text

_ONE_VALUE = frozenset({"LT", "ST", "UT"})
_TEXTS = _ONE_VALUE | {"LO", "PN", "SH", "UC"}
"""Types whose characters depend on the character set."""


def decode_unstated(header: Dataset) -> None:
    """Decode what is UTF-8 by all appearances, where the header states no character set; before it is read."""
    if text(header, "SpecificCharacterSet"):
        return
    for tag in list(header.keys()):
        stored = header.get_item(tag)
        if not isinstance(stored, RawDataElement) or not isinstance(stored.value, bytes) or stored.value.isascii():
            continue
        vr = stored.VR or (dictionary_VR(tag) if dictionary_has_tag(tag) else "")
        if vr not in _TEXTS:
            continue
        try:
            value = stored.value.decode("utf-8").rstrip("\0 ")
        except UnicodeDecodeError:
            continue
        several = value if vr in _ONE_VALUE or "\\" not in value else value.split("\\")
        header[tag] = DataElement(tag, vr, several, validation_mode=pydicom_config.IGNORE)
