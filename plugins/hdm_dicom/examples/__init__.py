"""Labelled slices: SEG, RTSTRUCT, NIfTI and images as labels."""
