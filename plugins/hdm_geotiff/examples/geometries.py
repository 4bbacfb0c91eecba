"""Names of what is drawn; apart from `vector_file`, as who reads a mask needs no library of vector files."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy.typing as npt

Geometries: TypeAlias = npt.NDArray[Any]
"""[n] of shapely geometries, neither null nor empty, in two dimensions."""

Bounds: TypeAlias = tuple[float, float, float, float]
"""(left, bottom, right, top)."""
