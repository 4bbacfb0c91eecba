"""The values that masks, labels and scores hold, and the arrays that travel."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Pixels: TypeAlias = npt.NDArray[np.float32]
"""[bands, y, x] where nothing else is said: in the units of the scene, or in 0..1."""

Validity: TypeAlias = npt.NDArray[np.bool_]
"""[y, x]: False where pixels hold no data."""

Labels: TypeAlias = npt.NDArray[np.uint8]
"""[y, x]: 1 the class, 0 background, 255 ignored."""

BACKGROUND = 0
"""Mask value of pixels that are valid and belong to no class."""

NODATA = 255
"""Mask value of pixels that hold no data; classes are 1..254."""

IGNORE = 255
"""Label value of support pixels that are neither target nor background."""

STATISTICS_PIXELS = 1 << 18
"""Pixels of a scene from which percentiles are taken."""

OUTPUT_MARKER = ".hdm"
"""Folder in every output directory of this program. A reader that looks through folders passes over a subfolder that
holds one: products are no scenes."""
