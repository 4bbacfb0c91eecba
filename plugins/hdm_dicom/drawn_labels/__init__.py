"""Labels that a person draws on a series, kept as a DICOM SEG beside the pipeline file."""
