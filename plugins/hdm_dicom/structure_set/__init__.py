"""The product `rtstruct`: contours of the classes on the stored slices, for planning systems."""
