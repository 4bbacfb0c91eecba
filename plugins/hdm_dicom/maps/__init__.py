"""The product `parametric_map`: scores or uncertainties of a series as a DICOM parametric map, streamed."""
