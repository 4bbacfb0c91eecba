"""Labelled examples: images with masks, and images with drawn labels."""
