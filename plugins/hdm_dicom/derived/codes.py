"""Coded terms of classes, checked before a run: ``SCHEME:VALUE:MEANING`` (PS3.3 section 8.8).

Known SNOMED CT terms are those of the context groups that PS3.16 names for segmentations (CID 7150 categories, CID 7151
types, CIDs 4 and 4031 anatomy), which may be used with DICOM without a licence; they are shipped in ``snomed.json``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from hdm_pipeline.contracts import ClassInfo
from hdm_pipeline.errors import ConfigError

ROLES = ("category", "type", "anatomy")
REQUIRED = ("category", "type")
_SNOMED = "SCT"
_SCHEME = re.compile(r"[A-Z0-9][A-Za-z0-9_.-]{0,15}")
_VALUE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SNOMED_VALUE = re.compile(r"[1-9][0-9]{5,17}")
_MAX_MEANING = 64


@dataclass(frozen=True)
class Code:
    """A coded term.

    Attributes:
        value: e.g. ``10200004``.
        scheme: designator, e.g. ``SCT``.
        meaning: e.g. ``Liver``.
    """

    value: str
    scheme: str
    meaning: str


def parse(text: str, where: str) -> Code:
    """A term from ``SCHEME:VALUE:MEANING``.

    Raises:
        ConfigError: malformed.
    """
    parts = [part.strip() for part in text.split(":", 2)]
    remedy = 'write "SCHEME:VALUE:MEANING", e.g. "SCT:10200004:Liver"'
    if len(parts) != 3 or not all(parts):
        raise ConfigError(f"code {text!r} has not three parts", where=where, remedy=remedy)
    scheme, value, meaning = parts
    pattern = _SNOMED_VALUE if scheme == _SNOMED else _VALUE
    if not _SCHEME.fullmatch(scheme) or not pattern.fullmatch(value):
        raise ConfigError(f"code {text!r} has a malformed scheme or value", where=where, remedy=remedy)
    if len(meaning) > _MAX_MEANING or "\\" in meaning or not meaning.isprintable():
        what = f"the meaning of code {text!r} is longer than {_MAX_MEANING} characters or unprintable"
        raise ConfigError(what, where=where, remedy="give a shorter meaning: it is shown, and the code value counts")
    return Code(value, scheme, meaning)


def check(classes: Sequence[ClassInfo], required: Sequence[str] = REQUIRED) -> list[str]:
    """Check the codes of all classes; returns warnings about terms that are not in the shipped list.

    Args:
        classes: of the mask.
        required: roles that each class must have a code for.

    Raises:
        ConfigError: a required role is missing, a role is unknown, or a code is malformed.
    """
    warnings: list[str] = []
    for info in classes:
        where = f"support.classes, {info.name!r}, codes"
        unknown = sorted(set(info.codes) - set(ROLES))
        if unknown:
            raise ConfigError(f"unknown role {unknown[0]!r}", where=where, remedy=f"use {', '.join(ROLES)}")
        for role in required:
            if role not in info.codes:
                raise ConfigError(
                    f"DICOM SEG needs a code for the {role} of class {info.name!r}",
                    where=where,
                    remedy="for an organ: category SCT:91723000:Anatomical Structure, type e.g. SCT:10200004:Liver",
                )
        for role, text in info.codes.items():
            warnings += _doubts(info.name, role, parse(text, where))
    return warnings


def _doubts(name: str, role: str, code: Code) -> list[str]:
    if code.scheme != _SNOMED:
        return []
    known = snomed().get(role, {}).get(code.value)
    if known is None:
        return [f"class {name!r}: {role} SCT {code.value} ({code.meaning}) is not in the shipped list of SNOMED terms"]
    if known.casefold() != code.meaning.casefold():
        return [f"class {name!r}: {role} SCT {code.value} means {known!r}, not {code.meaning!r}"]
    return []


@cache
def snomed() -> dict[str, dict[str, str]]:
    """Known SNOMED CT meanings by role and value."""
    text = resources.files("hdm_dicom.derived").joinpath("snomed.json").read_text(encoding="utf-8")
    known: dict[str, dict[str, str]] = json.loads(text)
    return known
