"""What the pipeline file says about which regions are told one by one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hdm_dicom.options import one_of
from hdm_pipeline.errors import ConfigError

RULES = ("lesions", "min_volume_ml", "max_lesions")
"""Names of these options."""

_MOST = 1000


@dataclass(frozen=True)
class Rules:
    """Which regions are told one by one.

    Attributes:
        lesions: tell regions at all.
        min_volume_ml: volume below which a region is only counted.
        max_lesions: most regions of a class that are told, the largest first.
    """

    lesions: bool = False
    min_volume_ml: float = 0.0
    max_lesions: int = 20


def parse_rules(options: Mapping[str, Any], where: str) -> Rules:
    """The rules among a product's options.

    Raises:
        ConfigError: one of them has a wrong value.
    """
    lesions, least = options.get("lesions", False), options.get("min_volume_ml", 0.0)
    most = options.get("max_lesions", Rules.max_lesions)
    one_of(lesions, (True, False), f"{where}, lesions")
    if isinstance(least, bool) or not isinstance(least, int | float) or not 0 <= least < math.inf:
        remedy = "give a number of at least 0, e.g. 0.5"
        raise ConfigError(
            "min_volume_ml must be a number of millilitres", where=f"{where}, min_volume_ml", remedy=remedy
        )
    if type(most) is not int or not 1 <= most <= _MOST:
        remedy = f"leave it out for {Rules.max_lesions}; further regions are counted"
        raise ConfigError(
            f"max_lesions must be a number from 1 to {_MOST}", where=f"{where}, max_lesions", remedy=remedy
        )
    if not lesions and ("min_volume_ml" in options or "max_lesions" in options):
        raise ConfigError(
            "min_volume_ml and max_lesions say nothing without lesions", where=where, remedy="add `lesions: true`"
        )
    return Rules(bool(lesions), float(least), most)
