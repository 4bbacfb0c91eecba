"""What a pipeline file may say about the product `polygons`."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hdm_pipeline.errors import ConfigError

SUFFIXES = ("gpkg", "fgb", "parquet")
_AMOUNT = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(m2|m|px)\s*")


@dataclass(frozen=True)
class Amount:
    """A length or an area.

    Attributes:
        value: not negative.
        unit: ``m``, ``m2`` or ``px``.
    """

    value: float
    unit: str


@dataclass(frozen=True)
class PolygonOptions:
    """Options of the product `polygons`.

    Attributes:
        format: suffix of the file: ``gpkg``, ``fgb`` or ``parquet``.
        simplify: how far an outline may be moved; None to follow the pixels.
        min_area: smaller regions are left out.
    """

    format: str = "gpkg"
    simplify: Amount | None = None
    min_area: Amount | None = None

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> PolygonOptions:
        """Check options.

        Raises:
            ConfigError: an option is unknown or makes no sense, or pyarrow is missing for ``parquet``.
        """
        known = ("format", "simplify", "min_area")
        for name in options:
            if name not in known:
                where = f"option of the product polygons: {name}"
                raise ConfigError("there is no such option", where=where, remedy=f"one of: {', '.join(known)}")
        form = options.get("format", "gpkg")
        where = f"option of the product polygons: format: {form!r}"
        if form not in SUFFIXES:
            remedy = "gpkg (GeoPackage), fgb (FlatGeobuf) or parquet (GeoParquet)"
            raise ConfigError("there is no such format", where=where, remedy=remedy)
        if form == "parquet" and importlib.util.find_spec("pyarrow") is None:
            remedy = "pip install 'hdm-pipeline[parquet]', or choose gpkg or fgb"
            raise ConfigError("GeoParquet needs pyarrow, which is not installed", where=where, remedy=remedy)
        simplify = _amount("simplify", options.get("simplify"), ("m", "px"))
        return cls(form, simplify, _amount("min_area", options.get("min_area"), ("m2", "px")))


def _amount(name: str, given: Any, units: tuple[str, str]) -> Amount | None:
    if given is None:
        return None
    found = _AMOUNT.fullmatch(given) if isinstance(given, str) else None
    if found is None or found[2] not in units:
        where = f"option of the product polygons: {name}: {given!r}"
        remedy = f"a number and a unit, such as '20 {units[0]}' or '4 {units[1]}'"
        raise ConfigError(
            f"{given!r} is not a number with the unit {units[0]} or {units[1]}", where=where, remedy=remedy
        )
    return Amount(float(found[1]), found[2])
