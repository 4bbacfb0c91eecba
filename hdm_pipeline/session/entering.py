"""Which labels of a session become examples of a pipeline file: of which classes, and on which scenes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from hdm_pipeline.config.edit import Entries
from hdm_pipeline.config.example import Example
from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.contracts import ClassInfo
from hdm_pipeline.errors import ConfigError
from hdm_pipeline.session.classes import entries
from hdm_pipeline.session.labels import SessionLabels

_NAMELESS = "no path names this scene (a mosaic, or an item of a search): a try uses its labels, a run cannot"

Pairs = set[tuple[str, str]]
"""(class, scene)."""


def is_own(example: Example, folder: Path) -> bool:
    """Whether an example with absolute paths has its labels in the session's folder."""
    named = example.labels or example.mask or ""
    return os.path.dirname(os.path.realpath(named)) == os.path.realpath(folder)


def taught(config: PipelineConfig, classes: Sequence[ClassInfo], labels: SessionLabels) -> set[str]:
    """Classes that some example is meant to show: drawn, or with an example that the pipeline file names itself.

    Of another class there is nothing but background, which would make an example of nothing.
    """
    drawn = set[int]().union(*labels.drawn_values().values())
    others = _with_others(config, labels.folder)
    return {one.name for one in classes if one.value in drawn or one.name in others}


def to_enter(config: PipelineConfig, classes: Sequence[ClassInfo], labels: SessionLabels) -> Pairs:
    """What `found_entries` enters, as far as it can be told without writing."""
    scenes = labels.drawn_values().keys() - set(labels.nameless())
    return {(name, scene) for name in taught(config, classes, labels) for scene in scenes}


def found_entries(config: PipelineConfig, classes: Sequence[ClassInfo], labels: SessionLabels) -> tuple[Entries, Pairs]:
    """What is entered into the pipeline file, and of which it tells; labels that others wrote are written anew.

    Raises:
        ConfigError: nothing that is drawn is background of a class, and the file names no example of it.
        OutputError: labels cannot be written.
    """
    drawn, others = set[int]().union(*labels.drawn_values().values()), _with_others(config, labels.folder)
    for one in classes:
        if drawn == {one.value} and one.name not in others:
            what = "the class has no background yet: nothing says what is not the class"
            remedy = "draw some background (or another class), then save again; what is drawn is kept"
            raise ConfigError(what, where=f"class {one.name!r}", remedy=remedy)
    kept, known = labels.kept(), taught(config, classes, labels)
    pairs = {(name, scene) for scene, saved in kept.items() for name in known & saved.examples.keys()}
    return entries(classes, kept, known), pairs


def entered(config: PipelineConfig, labels: SessionLabels) -> Pairs:
    """The session's labels that the pipeline file names."""
    return {
        (one.name, scene)
        for one in config.support.classes
        for example in one.examples
        if is_own(example, labels.folder)
        and (scene := labels.owner(Path(example.labels or example.mask or "").name)) is not None
    }


def left_out(labels: SessionLabels) -> list[dict[str, str]]:
    """Scenes whose labels cannot be entered: ``scene``, and ``why``."""
    found = dict.fromkeys(labels.nameless(), _NAMELESS)
    found |= {scene: error.what for scene, error in labels.problems.items()}
    return [{"scene": scene, "why": found[scene]} for scene in sorted(found)]


def _with_others(config: PipelineConfig, folder: Path) -> set[str]:
    """Classes of which the pipeline file names examples that are not the session's."""
    return {one.name for one in config.support.classes if not all(is_own(each, folder) for each in one.examples)}
