"""Faster modes of inference, and how they are held to account."""
