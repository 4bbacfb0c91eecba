"""The one setting: where the command line of hdm_pipeline is; among Processing's own, under Providers."""

from __future__ import annotations

from qgis.core import QgsSettings

KEY = "HDM_COMMAND"
_PREFIX = "Processing/Configuration/"


def command_setting() -> str:
    """What the user set; empty if nothing."""
    return str(QgsSettings().value(_PREFIX + KEY, "") or "")


def register(group: str) -> None:
    """Show the setting in the options of Processing, under the provider's name."""
    from processing.core.ProcessingConfig import ProcessingConfig, Setting

    about = "Program hdm-pipeline, or a Python that has it (empty: looked for on PATH)"
    ProcessingConfig.addSetting(Setting(group, KEY, about, "", valuetype=Setting.FILE))
    ProcessingConfig.readSettings()


def unregister() -> None:
    """Take the setting out of the options; its value stays."""
    from processing.core.ProcessingConfig import ProcessingConfig

    ProcessingConfig.removeSetting(KEY)
