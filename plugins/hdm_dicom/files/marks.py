"""By what products of this program are known, wherever they turn up."""

from __future__ import annotations

MANUFACTURER = "hdm_pipeline"
"""Manufacturer (0008,0070) of every DICOM product."""
