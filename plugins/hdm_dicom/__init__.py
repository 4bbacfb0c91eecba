"""DICOM plug-in of hdm_pipeline: volumes in, segmentations out.

`reader` finds and reads series, `writer` makes DICOM SEG, `nifti` makes NIfTI. Known to the core by entry point alone.
"""
