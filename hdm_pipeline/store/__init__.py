"""The work arrays of a scene: staged pixels, partial sums, scores. The only room that knows zarr."""
