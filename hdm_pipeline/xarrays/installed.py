"""Whether xarray is there. It is an extra (`xarray`): nothing here imports it."""

from __future__ import annotations

import sys
from typing import Any


def is_data_array(value: Any) -> bool:
    """Whether a value is an `xarray.DataArray`: there is none before somebody imported xarray."""
    loaded = sys.modules.get("xarray")
    return loaded is not None and isinstance(value, getattr(loaded, "DataArray", ()))


def is_dataset(value: Any) -> bool:
    """Whether a value is an `xarray.Dataset`."""
    loaded = sys.modules.get("xarray")
    return loaded is not None and isinstance(value, getattr(loaded, "Dataset", ()))
