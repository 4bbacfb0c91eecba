"""A plug-in for QGIS 3.22 and later: few-shot segmentation as Processing algorithms.

It calls the command line of hdm_pipeline in a process of its own, because QGIS has another Python. `commands`,
`running`, `progress`, `pipeline_text` and `results` know nothing of QGIS.
"""

from __future__ import annotations

from typing import Any


def classFactory(iface: Any) -> Any:
    """What QGIS calls to make the plug-in."""
    from qgis_hdm.plugin import HdmPlugin

    return HdmPlugin()
