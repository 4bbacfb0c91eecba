"""Which series are worked on: `input.select` of a pipeline file, by what they are called and how many slices they have.

Descriptions may hold anything, a patient's name included: a reason names the key that decided, never what it was held
against. Loads no pydicom, and can judge what a PACS lists as well as what files say.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from hdm_pipeline.errors import ConfigError, counted

TEXTS = ("modality", "series_description", "protocol", "body_part", "image_type", "manufacturer")
"""What a series is chosen by; `image_type` are its values joined by a slash."""

_COUNTS = ("min_slices", "max_slices")
_MODALITY = re.compile(r"[A-Z]{2,8}")

Patterns = tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Selection:
    """A choice of series. Without any part it takes all.

    Attributes:
        wanted: globs by key: of each key one must match.
        excluded: the same: none may match.
        min_slices: fewest slices of a volume.
        max_slices: most; 0 for any number.
    """

    wanted: Patterns = ()
    excluded: Patterns = ()
    min_slices: int = 1
    max_slices: int = 0

    @classmethod
    def parse(cls, given: Any, where: str) -> Selection:
        """A choice as it stands in the YAML.

        Raises:
            ConfigError: an unknown key, or a value that is no text, list of texts or count.
        """
        if isinstance(given, Selection):
            return given
        known = (*TEXTS, *_COUNTS, "exclude")
        entries = _entries(given, known, where)
        counts = {name: _count(entries[name], f"{where}.{name}") for name in _COUNTS if name in entries}
        excluded = _entries(entries.get("exclude", {}), TEXTS, f"{where}.exclude")
        found = cls(_patterns(entries, where), _patterns(excluded, f"{where}.exclude"), **counts)
        if found.max_slices and found.max_slices < found.min_slices:
            raise ConfigError("max_slices is below min_slices: nothing can match", where=where, remedy="exchange them")
        return found

    @property
    def keys(self) -> frozenset[str]:
        """The texts that decide."""
        return frozenset(key for key, _ in (*self.wanted, *self.excluded))

    def by(self, keys: Collection[str]) -> Selection:
        """The part of the choice that some of the texts decide; slices are not counted."""
        wanted = tuple(one for one in self.wanted if one[0] in keys)
        excluded = tuple(one for one in self.excluded if one[0] in keys)
        return replace(self, wanted=wanted, excluded=excluded)

    def left_out(self, texts: Mapping[str, str], slices: int | None) -> str:
        """Why a series, or one volume of it, is left out; empty if it is taken.

        Args:
            texts: what is known of the series by `TEXTS`; what is absent is an empty text.
            slices: of the volume; None where that is not known yet.
        """
        for key, patterns in self.wanted:
            if not _matches(texts.get(key, ""), patterns):
                return f"input.select: {_told(key, texts)} is not asked for"
        for key, patterns in self.excluded:
            if _matches(texts.get(key, ""), patterns):
                return f"input.select: {_told(key, texts)} is excluded"
        if slices is not None and slices < self.min_slices:
            return f"input.select: {counted(slices, 'slice')}, min_slices is {self.min_slices}"
        if slices is not None and self.max_slices and slices > self.max_slices:
            return f"input.select: {counted(slices, 'slice')}, max_slices is {self.max_slices}"
        return ""


def _entries(given: Any, known: tuple[str, ...], where: str) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise ConfigError("a choice of series is a mapping", where=where, remedy="such as {modality: CT}")
    unknown = [str(key) for key in given if key not in known]
    if unknown:
        raise ConfigError(f"there is no key {unknown[0]!r}", where=where, remedy=f"use one of: {', '.join(known)}")
    return dict(given)


def _patterns(entries: Mapping[str, Any], where: str) -> Patterns:
    found = []
    for key in TEXTS:
        if key in entries:
            values = entries[key] if isinstance(entries[key], list) else [entries[key]]
            if not values or not all(isinstance(value, str) for value in values):
                raise ConfigError(
                    "a glob, or a list of globs, is needed", where=f"{where}.{key}", remedy="such as '*abdomen*'"
                )
            found.append((key, tuple(value.strip().casefold() for value in values)))
    return tuple(found)


def _count(value: Any, where: str) -> int:
    if type(value) is not int or value < 1:
        remedy = "give a number of slices, e.g. 20; or leave the key out"
        raise ConfigError("a whole number of at least 1 is needed", where=where, remedy=remedy)
    return value


def _matches(text: str, patterns: tuple[str, ...]) -> bool:
    folded = text.strip().casefold()
    return any(fnmatchcase(folded, pattern) for pattern in patterns)


def _told(key: str, texts: Mapping[str, str]) -> str:
    """The key; and of a modality, which is a code, its value."""
    value = texts.get(key, "")
    return f"{key} {value}" if key == "modality" and _MODALITY.fullmatch(value) else f"its {key}"
