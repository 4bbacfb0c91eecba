"""How good the masks are: episodes from a list or a published benchmark, scored against the truth."""
