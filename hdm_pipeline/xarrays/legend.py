"""How a mask and probabilities say what they mean, as attributes of the CF conventions (section 3.5, flags)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hdm_pipeline.contracts import BACKGROUND, NODATA

PROBABILITY = {"long_name": "probability of the class", "units": "1", "valid_min": 0.0, "valid_max": 1.0}
"""Attributes of probabilities: 0..1, NaN where there is no data."""


def mask_attributes(names: Sequence[str]) -> dict[str, Any]:
    """Attributes of a mask.

    Args:
        names: of the classes 1, 2, ...

    Returns:
        ``flag_values`` and ``flag_meanings`` (blanks in names become underscores, as CF wants it), ``class_names`` as
        they are, and ``_FillValue``.
    """
    return {
        "long_name": "class",
        "class_names": list(names),
        "flag_values": np.arange(BACKGROUND, len(names) + 1, dtype=np.uint8),
        "flag_meanings": " ".join(_word(name) for name in ("background", *names)),
        "_FillValue": np.uint8(NODATA),
    }


def _word(name: str) -> str:
    """A name as one word of the characters that CF allows."""
    return re.sub(r"[^\w.+@-]+", "_", name, flags=re.ASCII).strip("_") or "_"


def plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes that netCDF, Zarr and GeoTIFF can all store: what is nothing is left out."""
    return {name: value for name, value in attributes.items() if value is not None}
