"""The four-level pyramid: the hierarchical design of HDMNet over a small backbone."""

from hdm_pipeline.model.pyramid.network import HDMNetPyramid

__all__ = ["HDMNetPyramid"]
