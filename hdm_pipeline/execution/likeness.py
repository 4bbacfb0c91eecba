"""Whether a scene is like the labelled examples: pixels counted block by block, summed up over the scene.

The counts are integers that the receipts of the blocks carry, so neither the order of the work nor a run that was
killed in between changes the measure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hdm_pipeline.contracts import SceneWarning

Tally = tuple[tuple[int, int] | None, ...]
"""By class: valid pixels of tiles that lie far from the examples, and all valid pixels; None where it is unknown."""

UNLIKE = 0.5
"""Share of far pixels from which on a scene is unlike its examples; of the examples' own pixels it is one in twenty."""

_FAR = 128  # see `FewShotSegmenter.answer`


def tally(distances: npt.NDArray[np.uint8], valid: npt.NDArray[np.bool_], known: Sequence[bool]) -> Tally:
    """Count a batch of tiles.

    Args:
        distances: [tiles, classes, y, x], 0 where not valid.
        valid: [tiles, y, x].
        known: for each class, whether its distances mean anything.
    """
    total = int(np.count_nonzero(valid))
    return tuple(
        (int(np.count_nonzero(distances[:, index] >= _FAR)), total) if one else None for index, one in enumerate(known)
    )


def summed(tallies: Iterable[Tally]) -> Tally:
    """The sum over batches, blocks or runs; a class that is unknown in one of them is unknown."""
    return tuple(
        None if any(one is None for one in column) else (sum(one[0] for one in column), sum(one[1] for one in column))
        for column in zip(*tallies, strict=True)
    )


def shares(found: Tally, names: Sequence[str]) -> dict[str, float | None]:
    """The share of far pixels, 0..1, by class; None where it is unknown."""
    return {
        name: None if one is None or not one[1] else round(one[0] / one[1], 4)
        for name, one in zip(names, found, strict=True)
    }


def warnings(found: dict[str, float | None]) -> tuple[SceneWarning, ...]:
    """One for each class whose examples the scene is unlike."""
    return tuple(
        SceneWarning(
            "unlike_examples",
            f"{share:.0%} of it is farther from the examples of {name!r} than 95 % of their own pixels are from each "
            "other: its mask is a guess",
            "add an example of this kind, and check that its bands and values are like those of the examples",
        )
        for name, share in found.items()
        if share is not None and share >= UNLIKE
    )


def from_receipts(details: Iterable[Mapping[str, Any]], classes: int) -> list[Tally]:
    """What the receipts of inferred blocks say; blocks of releases that did not count make it unknown."""
    unknown = [None] * classes
    return [tuple(None if one is None else (one[0], one[1]) for one in d.get("unlike") or unknown) for d in details]
