"""The product `preview`: pictures of the slices with the mask burned in, for viewers without segmentations."""
