"""From frames to volumes: grouping, order along the normal, and what is wrong with a stack."""
