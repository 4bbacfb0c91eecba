"""Ranges of values that a person may want to look at scenes in."""

from __future__ import annotations

from collections.abc import Iterable

from hdm_pipeline.config.schema import WINDOWS, PipelineConfig, Range

OWN = "as the network sees it"
"""What the pipeline's own range is called."""


def usual_windows(config: PipelineConfig, units: Iterable[str]) -> dict[str, Range]:
    """Ranges by name: first what the network sees, where that is one range for all scenes; then, of CT, the usual ones.

    Args:
        config: the pipeline.
        units: of the bands of a scene.
    """
    own = config.input.scale.ranges(len(config.input.bands))
    found = {OWN: own[0]} if len(own) == 1 else {}
    return found | (WINDOWS if "HU" in units else {})
