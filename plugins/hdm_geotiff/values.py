"""From stored values to physical ones: what the file says, what the product says, and what the user says instead.

A value of the options `nodata`, `scale_factor` and `offset` is one number for all bands, a list with one number a band,
or a mapping to either of these from globs of scenes (``{"S2*_N0400_*": -1000}``) or from names of bands (``{B10: 0}``);
the first key that fits a band of a scene counts.
"""

from __future__ import annotations

import glob
import math
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

from hdm_pipeline.contracts import SceneRef, SceneWarning
from hdm_pipeline.errors import ConfigError, UnsupportedSceneError, counted

_Values = float | None | tuple[float | None, ...]
_MOST = sys.float_info.max
_ALIKE = 0.7
"""Likeness of two words, 0..1, from which on one may be the other misspelt."""


@dataclass(frozen=True)
class Law:
    """How a band's stored values are read.

    Attributes:
        scale: physical value = stored * scale + offset.
        offset: see `scale`.
        nodata: stored value that means no data; None without one.
    """

    scale: float = 1.0
    offset: float = 0.0
    nodata: float | None = None


@dataclass(frozen=True)
class ByScene:
    """One such option: (glob of scenes or name of a band, value or values), in order."""

    option: str
    entries: tuple[tuple[str, _Values], ...] = ()

    @classmethod
    def parse(cls, option: str, value: Any, where: str) -> ByScene:
        """Check a value.

        Raises:
            ConfigError: it is no number, list of numbers, or mapping to these.
        """
        given = value if isinstance(value, Mapping) else {"*": value}
        return cls(option, tuple((str(key), _values(option, one, f"{where}")) for key, one in given.items()))

    def of(self, names: Sequence[str], bands: Sequence[str], where: str) -> list[tuple[float | None, bool]]:
        """(value, whether one is given) of each band.

        Args:
            names: what the scene may be called.
            bands: names of its bands.
            where: the scene, for messages.

        Raises:
            UnsupportedSceneError: a list is not as long as the scene has bands.
        """
        found: list[tuple[float | None, bool]] = []
        for index, band in enumerate(bands):
            for key, values in self.entries:
                of_scene = any(fnmatchcase(name, key) for name in names)
                if not of_scene and key.casefold() != band.casefold():
                    continue
                if isinstance(values, tuple) and of_scene:
                    if len(values) != len(bands):
                        there = counted(len(bands), "band")
                        what = f"{self.option} has {counted(len(values), 'value')}, but the scene has {there}"
                        remedy = f"give {self.option} one value for all, or one a band of the file"
                        raise UnsupportedSceneError(what, where=where, remedy=remedy)
                    found.append((values[index], True))
                else:
                    found.append((values[0] if isinstance(values, tuple) else values, True))
                break
            else:
                found.append((None, False))
        return found

    def unused(self, names: Sequence[str], bands: Sequence[str]) -> list[str]:
        """Keys that fit nothing here and ought to.

        A glob of scenes may be meant for others: globs are named only where no key at all fits.

        Args:
            names: what the scene may be called.
            bands: names of its bands.
        """
        known = {band.casefold() for band in bands}
        idle = [
            key
            for key, _ in self.entries
            if key.casefold() not in known and not any(fnmatchcase(name, key) for name in names)
        ]
        return idle if len(idle) == len(self.entries) else [key for key in idle if not glob.has_magic(key)]


@dataclass(frozen=True)
class ValueOptions:
    """The three options together."""

    nodata: ByScene = ByScene("nodata")
    scale_factor: ByScene = ByScene("scale_factor")
    offset: ByScene = ByScene("offset")

    def applied(self, laws: Sequence[Law], ref: SceneRef, bands: Sequence[str]) -> tuple[Law, ...]:
        """The laws of a scene's bands with what the user says instead.

        A `scale_factor` alone leaves the stored value that means zero where it was: the offset is scaled with it.

        Args:
            laws: what file and product say, one a band.
            ref: the scene.
            bands: names of its bands.

        Raises:
            UnsupportedSceneError: a list of values is not as long as the scene has bands.
        """
        if not (self.nodata.entries or self.scale_factor.entries or self.offset.entries):
            return tuple(laws)
        names = _names(ref)
        found = []
        for law, nodata, scale, offset in zip(
            laws, *(one.of(names, bands, ref.uri) for one in (self.nodata, self.scale_factor, self.offset)), strict=True
        ):
            made = law
            if scale[0] is not None:
                made = replace(made, scale=scale[0], offset=law.offset * (scale[0] / law.scale) if law.scale else 0.0)
            if offset[0] is not None:
                made = replace(made, offset=offset[0])
            if nodata[1]:
                made = replace(made, nodata=nodata[0])
            found.append(made)
        return tuple(found)

    def warnings(self, ref: SceneRef, bands: Sequence[str]) -> list[SceneWarning]:
        """Keys that fit neither the scene nor a band of it; those that look like a band misspelt are suspect.

        Args:
            ref: the scene.
            bands: names of all its bands.
        """
        there = ", ".join(band for band in bands if band)
        has = f"whose bands are {there}" if there else "whose bands have no names"
        found = []
        for one in (self.nodata, self.scale_factor, self.offset):
            for key in one.unused(_names(ref), bands):
                if not _is_beside(os.path.dirname(ref.uri.rstrip("/")), key):
                    what = f"{one.option}: the key {key!r} fits neither the scene nor a band of it, {has}"
                    remedy = f"if it is meant for a band, correct it in {one.option}: else nothing is to be done"
                    suspect = any(_misspelt(key, band) for band in bands)
                    found.append(SceneWarning("unused_key", what, remedy, suspect))
        return found


def _names(ref: SceneRef) -> tuple[str, ...]:
    """What keys may call a scene."""
    file = os.path.basename(ref.uri.rstrip("/"))
    return ref.id, file, os.path.splitext(file)[0]


@lru_cache(maxsize=256)  # all scenes of a folder ask the same
def _is_beside(folder: str, key: str) -> bool:
    """Whether a key may call another scene, as far as the files beside this one, and in folders beside its, tell."""
    own = glob.escape(folder)
    places = [os.path.join(own, key), os.path.join(os.path.dirname(own), "*", key)]
    if not glob.has_magic(key):
        places.append(os.path.join(own, key.split("__")[-1]))
    return any(next(glob.iglob(place + rest), None) is not None for place in places for rest in ("", "[._]*"))


def _misspelt(key: str, band: str) -> bool:
    """Whether a key may be a band's name misspelt: like it, and with the same numbers (B04 and B4, not B04 and B05)."""
    one, other = key.casefold(), band.casefold()
    numbers = ([int(number) for number in re.findall(r"[0-9]+", text)] for text in (one, other))
    return SequenceMatcher(None, one, other).ratio() >= _ALIKE and next(numbers) == next(numbers)


def _values(option: str, value: Any, where: str) -> _Values:
    if isinstance(value, list | tuple):
        if not value:
            raise ConfigError("an empty list of values", where=where, remedy="give a number, or one number a band")
        return tuple(_number(option, one, where) for one in value)
    return _number(option, value, where)


def _number(option: str, value: Any, where: str) -> float | None:
    if value is None and option == "nodata":
        return None  # the file's own nodata value is data after all
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not _MOST >= value >= -_MOST:  # not NaN either
        remedy = "give a number, a list of one number a band, or a mapping to these from globs of scene ids"
        if option == "nodata":
            remedy += "; null for none (NaN is never valid, and needs no word)"
        if isinstance(value, str) and _is_number(value):
            raise ConfigError(f"{value!r} is text", where=where, remedy=f"write it without quotes: {value.strip()}")
        raise ConfigError(f"{value!r} is not a finite number", where=where, remedy=remedy)
    if option == "scale_factor" and value == 0:
        raise ConfigError("a scale_factor of 0 makes all values alike", where=where, remedy="give another number")
    # Whole numbers of 64 bits lose digits as float.
    return int(value) if option == "nodata" and isinstance(value, int) else float(value)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
