"""Few-shot segmentation of whole image archives: HDMNet over GeoTIFF scenes and DICOM volumes, on Ray.

The public names are loaded when they are first used, so that `import hdm_pipeline` stays fast and light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hdm_pipeline.model.segmenter import FewShotSegmenter
    from hdm_pipeline.notebook import segment
    from hdm_pipeline.pipeline import Pipeline
    from hdm_pipeline.session.session import Session
    from hdm_pipeline.xarrays.run_output import open_output

__version__ = "0.1.0"

__all__ = ["FewShotSegmenter", "Pipeline", "Session", "__version__", "open_output", "segment"]

_HOME = {
    "FewShotSegmenter": "hdm_pipeline.model.segmenter",
    "Pipeline": "hdm_pipeline.pipeline",
    "Session": "hdm_pipeline.session.session",
    "open_output": "hdm_pipeline.xarrays.run_output",
    "segment": "hdm_pipeline.notebook",
}


def __getattr__(name: str) -> Any:
    """A public name, from the module where it lives (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
