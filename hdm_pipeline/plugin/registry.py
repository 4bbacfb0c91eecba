"""Plug-ins by entry point, loaded when they are used and not before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from hdm_pipeline.arguments import kind_argument
from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.contracts import Reader, Receiver, Sender
from hdm_pipeline.errors import ConfigError, HdmError, MissingExtraError, PluginLoadError
from hdm_pipeline.extras import absent, of_import
from hdm_pipeline.plugin.guard import Guard, construct
from hdm_pipeline.plugin.guarded_reader import guard_reader
from hdm_pipeline.plugin.guarded_sender import guarded_sender
from hdm_pipeline.plugin.guarded_writer import GuardedWriter, guard_writer

READERS = "hdm_pipeline.readers"
WRITERS = "hdm_pipeline.writers"
SENDERS = "hdm_pipeline.senders"
MODELS = "hdm_pipeline.models"
RECEIVERS = "hdm_pipeline.receivers"
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
        MissingExtraError: it lies here, and libraries that it needs are an extra that is not installed.
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
        plugin = point.load()
        if (module := absent(getattr(plugin, "libraries", ()))) is not None:
            raise ModuleNotFoundError(f"{module} is not installed", name=module)
        return plugin
    except (ImportError, AttributeError) as error:
        if isinstance(error, ImportError) and (missing := of_import(error, f"the plug-in {name!r}", where=point.value)):
            raise missing from error
        raise PluginLoadError(
            f"plug-in {name!r} cannot be imported: {error}",
            where=point.value,
            remedy="reinstall its distribution with its requirements",
        ) from error


def lack(group: str, name: str) -> str:
    """How to get what a plug-in lacks, or why it cannot be imported; empty where it can be used."""
    try:
        load(group, name)
    except MissingExtraError as error:
        return error.remedy
    except HdmError as error:
        return error.what
    except Exception as error:  # noqa: BLE001 - a stranger's module may raise anything while it is imported
        return f"{type(error).__name__}: {error}"
    return ""


def make_reader(name: str, options: Mapping[str, Any], bands: Sequence[int | str] = ()) -> Reader:
    """A reader by entry point name, constructed with its options and kept to its contract.

    Args:
        name: of the entry point.
        options: of the reader.
        bands: the pipeline's `input.bands`, which a reader that says `takes_bands` is told.

    Raises:
        ConfigError: there is none of that name, or its options are wrong, or no mapping.
    """
    kind_argument(options, Mapping, "the options", f"reader {name}", "give a mapping: {'allow_vrt': True}")
    plugin = load(READERS, name)
    if bands and getattr(plugin, "takes_bands", False):
        options = {**options, "asked": [str(band) for band in bands]}
    return guard_reader(construct(plugin, name, options), name)


def archive_reader(config: PipelineConfig) -> Reader:
    """The reader of a pipeline's archive."""
    return make_reader(config.input.reader, config.input.reader_options(), config.input.bands)


def not_pixels(name: str) -> tuple[str, ...]:
    """Options of a reader that do not change what it reads (`Reader`: optional attribute `not_pixels`)."""
    return tuple(getattr(load(READERS, name), "not_pixels", ())) if name in available(READERS) else ()


def reads_volumes(reader: Reader) -> bool | None:
    """Whether a reader says that its scenes are volumes; None where it says nothing (`Reader`: attribute `volumes`)."""
    told: bool | None = getattr(reader, "volumes", None)
    return told


def make_writer(name: str, options: Mapping[str, Any]) -> GuardedWriter:
    """A writer by product name, constructed with its options and kept to its contract."""
    return guard_writer(construct(load(WRITERS, name), name, options), name)


def make_receiver(name: str, options: Mapping[str, Any]) -> Receiver:
    """A receiver by entry point name, constructed with its options.

    Raises:
        ConfigError: there is no such receiver, or an option is wrong.
        PluginLoadError: it cannot be imported or constructed, or is none.
    """
    receiver: Any = construct(load(RECEIVERS, name), name, options)
    if not isinstance(receiver, Receiver):
        remedy = "its author must implement hdm_pipeline.contracts.Receiver; or name another one under listen.receive"
        raise PluginLoadError(f"plug-in {name!r} is no receiver", where=type(receiver).__qualname__, remedy=remedy)
    return receiver


def check_receiver(name: str, options: Mapping[str, Any]) -> list[str]:
    """Check before a run, without the network, that a receiver could listen; returns warnings.

    Raises:
        ConfigError: there is no such receiver, an option is wrong, or what it names is missing.
        PluginError: it cannot be used.
    """
    receiver = make_receiver(name, options)
    check = getattr(receiver, "check", None)
    if check is None:
        return []
    with Guard(name).calling("check", f"listen.receive.{name}"):
        return [str(warning) for warning in check()]


def make_sender(address: str, options: Mapping[str, Any]) -> Sender:
    """The sender for an address, by its scheme, constructed with its options and kept to its contract.

    Raises:
        ConfigError: no plug-in serves addresses of that kind.
    """
    scheme, separator, _ = address.partition("://")
    if not separator or scheme not in available(SENDERS):
        known = ", ".join(f"{name}://" for name in available(SENDERS)) or "(none installed)"
        raise ConfigError(
            f"nothing can send to an address that begins with {scheme + separator!r}",
            where="output.send",
            remedy=f"addresses begin with one of: {known}",
        )
    return guarded_sender(load(SENDERS, scheme), scheme, address, options)
