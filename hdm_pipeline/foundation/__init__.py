"""Backbones of others, from a folder on disk, under closed-form evidence."""
