"""Commands that plug-ins add to the command line, by entry point; loaded when the command line is, and not before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from hdm_pipeline.errors import HdmError, PluginLoadError
from hdm_pipeline.plugin.registry import COMMANDS, available, load


class CommandGroup(TyperGroup):
    """The commands of the core, and those of plug-ins behind them. A command of the core cannot be replaced.

    A plug-in whose command cannot be loaded takes nothing with it: its own command says what is wrong.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of `--help`."""
        own = super().list_commands(ctx)
        return [*own, *(name for name in _names() if name not in own)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command by name; None where there is none."""
        own = super().get_command(ctx, cmd_name)
        return own if own is not None or cmd_name not in _names() else _plugin_command(cmd_name)


def _names() -> list[str]:
    try:
        return list(available(COMMANDS))
    except PluginLoadError:
        return []  # two of one name: `plugins` says so


def _plugin_command(name: str) -> Any:
    try:
        function = load(COMMANDS, name)
        if not callable(function):
            raise TypeError("it is no function")
        return _typer_command(name, function)
    except Exception as error:  # noqa: BLE001 - a stranger's module may raise anything while it is imported
        return _typer_command(name, _broken(name, error))


def _typer_command(name: str, function: Callable[..., Any]) -> Any:
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(name)(function)
    return typer.main.get_command(app)


def _broken(name: str, error: Exception) -> Callable[[], None]:
    def command() -> NoReturn:
        if isinstance(error, HdmError):
            raise error
        raise PluginLoadError(
            f"the command {name!r} cannot be loaded: {type(error).__name__}: {error}",
            where=f"entry points {COMMANDS}, {available(COMMANDS)[name].value}",
            remedy="reinstall its distribution with its requirements",
        ) from error

    command.__doc__ = "(Cannot be loaded; call it to see why.)"
    return command
