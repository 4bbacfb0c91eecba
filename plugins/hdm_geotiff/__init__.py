"""GeoTIFF for hdm_pipeline: scenes and labelled chips in, cloud-optimized masks and scores out."""
