"""Synthetic episodes: layouts, materials and sensors, made on the fly."""
