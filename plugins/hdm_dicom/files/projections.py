"""Which images are projections or renderings: their pixels show through the patient, so that none has a volume."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise

TECHNIQUE = "VolumeBasedCalculationTechnique"
"""What enhanced images state of it (PS3.3 C.8.16.2.1.3)."""

_TECHNIQUES = frozenset({"MAX_IP", "MIN_IP", "VOLUME_RENDER", "SURFACE_RENDER"})
_WORDS = frozenset({"MIP", "MINIP", "MAXIP", "MAX IP", "MIN IP", "MAXIMUM", "MINIMUM", "PROJECTION IMAGE"})
"""Words of a value of ImageType, however they are joined."""


@lru_cache(maxsize=1024)
def is_projection(image_type: tuple[str, ...], technique: str) -> bool:
    """Whether an image is a projection or a rendering, by its type or by how it was calculated.

    Args:
        image_type: values of ImageType, in capitals.
        technique: value of `TECHNIQUE`; empty where there is none.
    """
    return technique in _TECHNIQUES or any(_says_so(value) for value in image_type)


def _says_so(value: str) -> bool:
    words = re.findall(r"[A-Z0-9]+", value)
    pairs = (f"{a} {b}" for a, b in pairwise(words))
    return not _WORDS.isdisjoint((*words, *pairs))
