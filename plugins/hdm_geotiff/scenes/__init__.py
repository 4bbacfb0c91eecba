"""Scenes that are open: header, grid, pixels, validity, areas."""
