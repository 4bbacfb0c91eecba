"""Cloud-optimized masks and scores, their styles, their mosaics, and what changed between two runs."""
