"""Training of weights: where episodes come from, the trainer, its log and its validation."""
