"""The product `segmentation`: a DICOM SEG, streamed."""
