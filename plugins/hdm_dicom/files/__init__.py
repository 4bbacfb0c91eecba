"""One file: its header, its attributes, its UIDs, and what an image of a series is."""
