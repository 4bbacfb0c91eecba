"""Whether xarray is there. It is an extra (`geo`): nothing here imports it."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Any

from hdm_pipeline.errors import ConfigError

_LIBRARIES = ("xarray", "rioxarray", "dask")


def missing() -> list[str]:
    """Those of the extra's libraries that are not installed."""
    return [name for name in _LIBRARIES if find_spec(name) is None]


def require(doing: str) -> None:
    """Refuse what cannot be done without the extra.

    Raises:
        ConfigError: a library is missing; says how to install it.
    """
    if lacking := missing():
        verb = "is" if len(lacking) == 1 else "are"
        what = f"{' and '.join(lacking)} {verb} not installed"
        raise ConfigError(what, where=doing, remedy="pip install 'hdm-pipeline[geo]'")


def is_data_array(value: Any) -> bool:
    """Whether a value is an `xarray.DataArray`: there is none before somebody imported xarray."""
    loaded = sys.modules.get("xarray")
    return loaded is not None and isinstance(value, getattr(loaded, "DataArray", ()))


def is_dataset(value: Any) -> bool:
    """Whether a value is an `xarray.Dataset`."""
    loaded = sys.modules.get("xarray")
    return loaded is not None and isinstance(value, getattr(loaded, "Dataset", ()))
