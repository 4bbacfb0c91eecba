"""The classes of a session: those of the pipeline file, and those that a person adds while labelling."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from hdm_pipeline.config.edit import Entries
from hdm_pipeline.config.palette import default_colors
from hdm_pipeline.config.schema import ClassConfig, PipelineConfig
from hdm_pipeline.contracts import ClassInfo, SavedLabels
from hdm_pipeline.errors import ConfigError
from hdm_pipeline.planning.validation import class_infos

MOST_CLASSES = 254


class SessionClasses:
    """Classes by label value. They may be read without a lock; who changes them keeps others from doing so.

    Args:
        config: the pipeline.

    Attributes:
        all: by ascending value: those of the pipeline file in its order, then those that were added.
    """

    def __init__(self, config: PipelineConfig) -> None:
        self._config = config
        self._more: tuple[ClassConfig, ...] = ()
        self.all = class_infos(config)

    def named(self, name: str) -> ClassInfo:
        """A class; raises `ConfigError` if there is none of that name."""
        for one in self.all:
            if one.name == name:
                return one
        raise ConfigError(f"there is no class {name!r}", where="class", remedy="choose one of the classes")

    def use(self, config: PipelineConfig, more: Iterable[tuple[str, str]]) -> None:
        """Go on with a pipeline file that has changed: what was added may stand in it now.

        Args:
            config: the pipeline.
            more: names and colors of further classes.

        Raises:
            ConfigError: a name or a color is none; all is as it was.
        """
        after = SessionClasses(config)
        for name, color in [*((one.name, one.color) for one in self._more), *more]:
            after.know(name, color)
        self._config, self._more, self.all = config, after._more, after.all

    def know(self, name: str, color: str | None) -> None:
        """Add a class, unless there is one of that name.

        Raises:
            ConfigError: the name or the color is none.
        """
        if not any(one.name == name for one in self.all):
            self.take(self._made(name, color))

    def new(self, name: str, color: str | None) -> ClassConfig:
        """A class that could be added by `take`.

        Raises:
            ConfigError: there is one of that name, there are too many, or the name or the color is none.
        """
        if any(one.name == name for one in self.all):
            raise ConfigError(f"there is a class {name!r} already", where="class", remedy="choose another name")
        if len(self.all) >= MOST_CLASSES:
            remedy = "use one of them, or take one out of the pipeline file"
            raise ConfigError(f"there are {MOST_CLASSES} classes already", where="class", remedy=remedy)
        return self._made(name, color)

    def take(self, one: ClassConfig) -> None:
        """Add a class."""
        self._more = (*self._more, one)
        self.all = (*self.all, ClassInfo(len(self.all) + 1, one.name, one.rgb))

    def _made(self, name: str, color: str | None) -> ClassConfig:
        taken = {hex_color(one) for one in self.all}
        free = next(color for color in default_colors() if color not in taken)
        try:
            return ClassConfig(name=name, color=color or free, examples=[])
        except ValueError as error:
            remedy = "give a name of 1 to 64 characters, and a color as #rrggbb"
            raise ConfigError(f"no class can be called {name!r}", where="class", remedy=remedy) from error


def hex_color(one: ClassInfo) -> str:
    """``#rrggbb``."""
    return "#{:02x}{:02x}{:02x}".format(*one.color)


def entries(classes: Sequence[ClassInfo], kept: Mapping[str, SavedLabels], known: Collection[str]) -> Entries:
    """What `enter_examples` enters of the labels of scenes, by class; of classes that are not `known` nothing."""
    found: dict[str, dict[str, Any]] = {}
    for one in classes:
        told = kept.values() if one.name in known else ()
        examples = [saved.examples[one.name] for saved in told if one.name in saved.examples]
        found[one.name] = {"examples": examples, "color": hex_color(one)}
    return found
