"""One call for notebooks, GIS scripts and PACS viewers: an image in, its mask out."""

from hdm_pipeline.notebook.call import segment
from hdm_pipeline.notebook.result import Segmentation
from hdm_pipeline.notebook.told import SuspectWarning, UnscaledWarning

__all__ = ["Segmentation", "SuspectWarning", "UnscaledWarning", "segment"]
