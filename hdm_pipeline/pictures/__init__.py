"""Pixels, masks and outlines as people see them."""
