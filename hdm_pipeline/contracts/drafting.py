"""What a reader tells of files, so that a pipeline can be drafted for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class LabelChoice:
    """One thing in a file of labels that may be the class.

    Attributes:
        name: what it is called there: a value of an attribute, the name of a segment, a pixel value.
        count: features, segments or pixels of it (of a large raster: of those that were looked at).
        group: things of one group exclude each other: the values of one attribute of one layer, the values of a mask.
        keys: what stands in an example of a pipeline file to choose it, such as ``{"layer": "lakes", "where": "..."}``.
    """

    name: str
    count: int
    group: str
    keys: Mapping[str, Any] = field(default_factory=dict)
