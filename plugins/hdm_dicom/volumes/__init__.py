"""Volumes that are open: planes, pixels in units, resampling."""
