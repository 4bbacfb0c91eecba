"""From bands as they lie on disk to the staged pixels that the network sees."""
