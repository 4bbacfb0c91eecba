"""Plug-ins by entry point, loaded when they are used and not before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.contracts import Reader
from hdm_pipeline.errors import ConfigError, PluginLoadError
from hdm_pipeline.plugin.guard import construct
from hdm_pipeline.plugin.guarded_reader import guard_reader
from hdm_pipeline.plugin.guarded_writer import GuardedWriter, guard_writer

READERS = "hdm_pipeline.readers"
WRITERS = "hdm_pipeline.writers"
MODELS = "hdm_pipeline.models"
COMMANDS = "hdm_pipeline.commands"


@cache
def available(group: str) -> dict[str, EntryPoint]:
    """Entry points of a group by name, without importing any.

    Raises:
        PluginLoadError: two distributions claim one name.
    """
    found: dict[str, EntryPoint] = {}
    for point in sorted(entry_points(group=group), key=lambda p: (p.name, p.value)):
        known = found.setdefault(point.name, point)
        if known.value != point.value:
            raise PluginLoadError(
                f"two plug-ins are called {point.name!r}: {known.value} and {point.value}",
                where=f"entry points {group}",
                remedy="uninstall one of the two distributions",
            )
    return found


def load(group: str, name: str) -> Any:
    """The class behind an entry point.

    Raises:
        ConfigError: no plug-in of that name is installed.
        PluginLoadError: it cannot be imported.
    """
    point = available(group).get(name)
    if point is None:
        raise ConfigError(
            f"no plug-in called {name!r}",
            where=f"entry points {group}",
            remedy=f"use one of: {', '.join(available(group)) or '(none installed)'}; or install the one you mean",
        )
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        raise PluginLoadError(
            f"plug-in {name!r} cannot be imported: {error}",
            where=point.value,
            remedy="reinstall its distribution with its requirements",
        ) from error


def make_reader(name: str, options: Mapping[str, Any], bands: Sequence[int | str] = ()) -> Reader:
    """A reader by entry point name, constructed with its options and kept to its contract.

    Args:
        name: of the entry point.
        options: of the reader.
        bands: the pipeline's `input.bands`, which a reader that says `takes_bands` is told.
    """
    plugin = load(READERS, name)
    if bands and getattr(plugin, "takes_bands", False):
        options = {**options, "asked": [str(band) for band in bands]}
    return guard_reader(construct(plugin, name, options), name)


def archive_reader(config: PipelineConfig) -> Reader:
    """The reader of a pipeline's archive."""
    return make_reader(config.input.reader, config.input.reader_options(), config.input.bands)


def reads_volumes(reader: Reader) -> bool | None:
    """Whether a reader says that its scenes are volumes; None where it says nothing (`Reader`: attribute `volumes`)."""
    told: bool | None = getattr(reader, "volumes", None)
    return told


def make_writer(name: str, options: Mapping[str, Any]) -> GuardedWriter:
    """A writer by product name, constructed with its options and kept to its contract."""
    return guard_writer(construct(load(WRITERS, name), name, options), name)
