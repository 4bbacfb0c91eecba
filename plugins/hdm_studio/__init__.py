"""The studio: a local web page to label, try and correct on. A caller of the public API of `hdm_pipeline`."""
