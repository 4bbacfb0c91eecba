"""DICOM plug-in of hdm_pipeline: volumes in, segmentations out.

`reader` finds and reads series, `writer` makes DICOM SEG, `nifti` makes NIfTI. The core knows them only by entry point.
"""
